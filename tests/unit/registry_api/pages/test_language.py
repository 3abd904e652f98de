"""Languages: every message has its translation, what is compiled is what is written, and a reader gets what they chose."""

import gettext
import re
from pathlib import Path

import pytest

from deploy import catalogues
from registry_api.pages.language import COOKIE, FOLDER, LANGUAGES, chosen
from registry_api.people.roles import Role
from tests.fakes.asgi_client import AsgiClient

CATALOGUES = catalogues.catalogues()


def test_every_language_but_english_has_a_catalogue() -> None:
    assert {path.parts[-3] for path in CATALOGUES} == LANGUAGES.keys() - {"en"}
    assert all(path.is_relative_to(FOLDER) for path in CATALOGUES)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_message_is_translated_and_none_is_left_over(path: Path) -> None:
    known, messages = catalogues.read(path), catalogues.messages()
    assert len(messages) > 100
    assert list(known) == messages, "run `python -m deploy.catalogues`"
    assert [message for message in messages if not known[message].strip()] == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_translation_takes_the_same_values(path: Path) -> None:
    def places(text: str) -> list[str]:
        return sorted(re.findall(r"%\(\w+\)s|%%", text))

    known = catalogues.read(path)
    assert [message for message, said in known.items() if places(message) != places(said)] == []


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parts[-3])
def test_what_is_compiled_is_what_is_written(path: Path) -> None:
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    assert {message: said for message, said in compiled.items() if message} == catalogues.read(path)


def test_a_catalogue_written_again_is_the_same() -> None:
    for path in CATALOGUES:
        assert catalogues.written(path.parts[-3], catalogues.read(path)) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        (None, "", "en"),
        (None, "fr-CH, fr;q=0.9, en;q=0.8", "fr"),
        (None, "en;q=0.5, fr;q=0.9", "fr"),
        (None, "de, es;q=0.9", "en"),
        (None, "fr;q=0, en", "en"),
        (None, "fr;q=lots, ;;;", "en"),
        ("en", "fr", "en"),
        ("xx", "fr", "fr"),
    ],
)
def test_a_choice_counts_before_the_browser(cookie: str | None, accept: str, language: str) -> None:
    assert chosen(cookie, accept) == language


def test_a_browser_that_likes_french_gets_it_and_may_choose_english(client: AsgiClient, bearer) -> None:
    french = {"Accept-Language": "fr"}
    text = client.get("/registry", headers={**bearer(Role.MINISTRY), **french}).text
    assert '<html lang="fr">' in text
    assert "Pas encore de publication" in text
    answer = client.get("/language?to=en", headers={"Referer": "https://localhost:8443/registry?place=XA"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/registry?place=XA")
    assert all(word in answer.headers["Set-Cookie"] for word in (f"{COOKIE}=en", "HttpOnly", "Secure", "SameSite=lax"))
    assert "No release yet" in client.get("/registry", headers={**bearer(Role.MINISTRY), **french}).text


@pytest.mark.parametrize("referer", ["https://evil.example//evil.example", "javascript:alert(1)", ""])
def test_choosing_a_language_leads_nowhere_else(client: AsgiClient, referer: str) -> None:
    answer = client.get("/language?to=xx", headers={"Referer": referer} if referer else {})
    assert answer.headers["Location"] == "/"
    assert "No release" not in answer.text


def test_one_readers_language_is_not_the_next_ones(client: AsgiClient) -> None:
    assert "Se connecter" in client.get("/", headers={"Accept-Language": "fr"}).text
    assert "Log in" in client.get("/").text


def test_an_error_page_is_in_the_readers_language_and_its_sentence_marked_as_english(client: AsgiClient) -> None:
    text = client.get("/nowhere", headers={"Accept-Language": "fr"}).text
    assert "Cela n’a pas été fait" in text
    assert '<p lang="en">' in text
