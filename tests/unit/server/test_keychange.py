"""Replacing the keys of the catalogue: by two root keys, whole or again, and nothing that was released before is lost."""

from pathlib import Path

import pytest

from protocol.codes import Code
from server import keychange
from server.home import ROOTS
from server.keychange import replace_keys
from server.registry import Registry
from server.runtime import listing_keys, open_catalogue, open_repository
from server.settings import CentreSettings
from tests.fakes.outcomes import code_of


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the registry was handed."""
    taken: list[dict[str, str]] = []
    monkeypatch.setattr(Registry, "publish_lists", lambda _, files: taken.append(files))
    return taken


def root_files(settings: CentreSettings) -> list[Path]:
    return sorted((settings.within("secrets") / ROOTS).iterdir())


def works(settings: CentreSettings) -> None:
    """Everything verifies with the keys that are in their places."""
    open_catalogue(settings).weights("ggo@0")
    open_repository(settings).refresh(listing_keys(settings))


def test_two_root_keys_make_new_ones_and_the_registry_hears(
    settings: CentreSettings, published: list[dict[str, str]]
) -> None:
    before = listing_keys(settings)
    replace_keys(settings, root_files(settings)[:2], new_roots=None)
    after = listing_keys(settings)
    assert {key.private_bytes_raw() for key in (before.release, before.online)}.isdisjoint(
        key.private_bytes_raw() for key in (after.release, after.online)
    )
    assert "2.root.json" in published[-1]
    works(settings)
    assert not list(settings.within("secrets").glob("*.next.key"))


def test_one_root_key_replaces_nothing(settings: CentreSettings, published: list[dict[str, str]]) -> None:
    assert code_of(lambda: replace_keys(settings, root_files(settings)[:1], new_roots=None)) is Code.SIGNATURE_INVALID
    assert published == []
    works(settings)


def test_a_lost_root_key_is_replaced_with_the_others(
    settings: CentreSettings, published: list[dict[str, str]], tmp_path: Path
) -> None:
    old = root_files(settings)
    replace_keys(settings, old[1:], new_roots=tmp_path / "new")
    assert code_of(lambda: replace_keys(settings, old, new_roots=None)) is Code.SIGNATURE_INVALID
    replace_keys(settings, sorted((tmp_path / "new").iterdir())[:2], new_roots=None)
    assert "3.root.json" in published[-1]
    works(settings)


@pytest.mark.parametrize("at", ["root", "manifests", "rename"])
def test_killed_on_the_way_it_is_run_again(
    settings: CentreSettings, published: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if at == "root":
            patched.setattr(keychange, "open_repository", killed)
        elif at == "manifests":
            patched.setattr(keychange, "open_catalogue", killed)
        else:
            patched.setattr(Path, "replace", _killed_at(".next.key"))
        with pytest.raises(KeyboardInterrupt):
            replace_keys(settings, root_files(settings), new_roots=None)
    replace_keys(settings, root_files(settings), new_roots=None)
    works(settings)


@pytest.mark.parametrize("at", ["root-2.key", "2.root.json", "manifest.json", "3.targets.json", "release.key"])
def test_killed_on_the_way_to_new_root_keys_it_is_run_again_as_it_was(
    settings: CentreSettings, published: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str
) -> None:
    """Whoever types the command again has the same two keys from the safes, and the folder that the first try made."""
    old = root_files(settings)[1:]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", _killed_at(at, before=True))
        with pytest.raises(KeyboardInterrupt):
            replace_keys(settings, old, new_roots=tmp_path / "new")
    replace_keys(settings, old, new_roots=tmp_path / "new")
    works(settings)
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == ["root-1.key", "root-2.key", "root-3.key"]
    replace_keys(settings, sorted((tmp_path / "new").iterdir())[:2], new_roots=None)
    works(settings)


def test_no_folder_of_other_keys_is_taken_for_new_ones(
    settings: CentreSettings, published: list[dict[str, str]]
) -> None:
    """They might be the stolen ones."""
    old = root_files(settings)
    assert code_of(lambda: replace_keys(settings, old, new_roots=old[0].parent)) is Code.ALREADY_EXISTS
    assert published == []
    works(settings)


def _killed_at(suffix: str, *, before: bool = False):  # type: ignore[no-untyped-def]
    """A death as a file of that name is about to be moved away or, with `before`, to take its place."""
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if (target if before else path).name.endswith(suffix):
            raise KeyboardInterrupt
        return real(path, target)

    return replace


def test_without_a_registry_the_keys_are_replaced_all_the_same(settings: CentreSettings) -> None:
    assert code_of(lambda: replace_keys(settings, root_files(settings), new_roots=None)) is Code.PEER_UNREACHABLE
    works(settings)
    assert "2.root.json" in open_repository(settings).files()
