"""The documentation is tested: what the code has and the pages lack is a failure."""

import ast
import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer
from pydantic import BaseModel

import client.cli
import registry_api.cli
import server.cli
from client.gate.policy import SitePolicy
from client.ledger.account import Event, course
from client.settings import NodeSettings
from deploy import reference
from protocol.codes import Code
from protocol.parcel import Parcel
from protocol.plan import RunPlan
from registry_api.pages.wording import TITLES
from registry_api.reading.lifecycle import State
from registry_api.releases.cube import DIMENSIONS
from registry_api.settings import RegistrySettings
from server.settings import CentreSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def keys_of(settings: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys_of(kind, name + ".")
        else:
            found.append(prefix + name)
    return found


def test_the_file_table_is_fresh() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert reference.with_tables(text) == text, "run `make docs`"


def test_the_list_of_codes_is_fresh() -> None:
    assert page("reference/codes.md") == reference.codes_page(), "run `make docs`"


@pytest.mark.parametrize("code", list(Code))
def test_every_code_is_raised_somewhere(code: Code) -> None:
    packages = ("client", "server", "registry_api", "models", "identity", "strategies", "protocol")
    sources = [p for package in packages for p in (ROOT / package).rglob("*.py") if p.name != "codes.py"]
    assert any(f"Code.{code.name}" in p.read_text(encoding="utf-8") for p in sources), f"nothing ever says {code}"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (NodeSettings, "reference/node.md"),
        (SitePolicy, "reference/node.md"),
        (CentreSettings, "reference/centre.md"),
        (RunPlan, "reference/centre.md"),
        (RegistrySettings, "reference/registry.md"),
    ],
)
def test_every_setting_has_its_line(settings: type[BaseModel], name: str) -> None:
    text = page(name)
    missing = [key for key in keys_of(settings) if key != "home" and f"`{key.rpartition('.')[2]}`" not in text]
    assert not missing, f"docs/{name} says nothing of {missing}"


@pytest.mark.parametrize("state", list(State))
def test_every_state_of_a_read_has_its_line(state: State) -> None:
    assert f"`{state.value}`" in page("reference/reading.md")


def routes(folder: str) -> list[str]:
    """The paths of every route decorator below `folder`, read from the source."""
    found = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                verb, first = node.func.attr, node.args[0]
                path_like = isinstance(first, ast.Constant) and str(first.value).startswith("/")
                if verb in {"get", "post", "put", "delete"} and path_like:
                    found.append(str(first.value))
    return sorted(set(found))


@pytest.mark.parametrize(
    ("folder", "pages"),
    [
        ("registry_api", ("reference/registry.md", "reference/reading.md")),
        ("client/gateway", ("reference/reading.md",)),
        ("client/console", ("reference/node.md",)),
    ],
)
def test_every_route_has_its_line(folder: str, pages: tuple[str, ...]) -> None:
    text = "".join(page(name) for name in pages)
    found = routes(folder)
    assert found
    missing = [path for path in found if path not in text]
    assert not missing, f"{pages} say nothing of {missing}"


def verbs(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every verb of a program, such as `label import`, and what it takes."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from verbs(inner, f"{path} {name}".strip())
    if path and not (isinstance(command, click.Group) and command.no_args_is_help):
        yield path, command


def options(command: click.Command) -> list[str]:
    shown = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    return [name for one in shown for name in (*one.opts, *one.secondary_opts) if name.startswith("--")]


@pytest.mark.parametrize(
    ("program", "pages"),
    [
        (client.cli.app, ("reference/node.md", "reference/quantify.md", "reference/reading.md")),
        (server.cli.app, ("reference/centre.md",)),
        (registry_api.cli.app, ("reference/registry.md",)),
    ],
)
def test_every_verb_and_every_option_has_its_line(program: typer.Typer, pages: tuple[str, ...]) -> None:
    text = "".join(page(name) for name in pages)
    root = typer.main.get_command(program)
    found = dict(verbs(root))
    assert len(found) > 5
    assert not [verb for verb in found if not re.search(rf"`[^`]*\b{verb}\b", text)]
    assert not {name for command in (root, *found.values()) for name in options(command) if f"{name}" not in text}


@pytest.mark.parametrize("parcel", get_args(get_args(Parcel)[0]))
def test_every_parcel_that_can_leave_a_hospital_has_its_line(parcel: type[BaseModel]) -> None:
    assert f"`{parcel.model_fields['kind'].default}`" in page("explanation/borders.md")


@pytest.mark.parametrize("dimension", list(DIMENSIONS))
def test_every_dimension_has_its_title_and_its_line(dimension: str) -> None:
    assert dimension in TITLES
    assert f"`{dimension}`" in page("reference/registry.md")


def all_pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "GLOSSARY.md", *DOCS.rglob("*.md")]


FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "acinus-node": typer.main.get_command(client.cli.app),
    "acinus-centre": typer.main.get_command(server.cli.app),
    "acinus-registry": typer.main.get_command(registry_api.cli.app),
}


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of every command line of ours on a page, in a block or within a sentence; without brackets and comments."""
    blocks = "\n".join(block for _, block in FENCE.findall(text)).replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\.venv/bin/)?(acinus-(?:node|centre|registry)\b.*)", blocks, re.MULTILINE)
    spans = re.findall(r"`(acinus-(?:node|centre|registry)\b[^`]*)`", FENCE.sub("", text))
    for line in (*lines, *spans):
        yield re.sub(r"[\[\]()]|\\\|| #.*", " ", line).split()


def wrong_word(words: list[str]) -> str | None:
    """The first word of a command line that the program does not know, or `None`. What stands for a value is not looked at."""
    command = root = PROGRAMS[words[0]]
    for before, word in pairwise(words):
        if word.startswith("--"):
            if word.partition("=")[0] not in {*options(root), *options(command), "--help"}:
                return word
        elif isinstance(command, click.Group) and not before.startswith("--") and not (word.isupper() or word == "…"):
            inner = command.get_command(click.Context(command), word)
            if inner is None:
                return word
            command = inner
    return None


def test_commands_that_pages_show_are_there() -> None:
    shown = {(path, *words) for path in all_pages() for words in command_lines(path.read_text(encoding="utf-8"))}
    assert len(shown) > 150
    assert not [
        f"{path.relative_to(ROOT)}: {' '.join(words)}: no {wrong}"
        for path, *words in sorted(shown)
        if (wrong := wrong_word(words))
    ]


def tables_of(settings: type[BaseModel], prefix: str = "") -> dict[str, set[str]]:
    """The keys of every table of a settings file, `[oidc.roles]` and `[[pull.rules]]` included."""
    found: dict[str, set[str]] = {prefix: set(settings.model_fields)}
    for name, field in settings.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= tables_of(kind, f"{prefix}.{name}".lstrip("."))
    return found


def known_tables() -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for settings in (NodeSettings, SitePolicy, CentreSettings, RegistrySettings, RunPlan):
        for table, keys in tables_of(settings).items():
            known[table] = known.get(table, set()) | keys
    return known


def test_tables_and_keys_that_pages_name_are_there() -> None:
    known = known_tables()
    named = re.compile(r"`\[\[?([a-z_.]+)\]\]?(?: ([a-z_]+)\b)?[^`\n]*`")
    found = {(path, *two) for path in all_pages() for two in named.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 100
    wrong = [
        f"{path.relative_to(ROOT)}: [{table}] {key}"
        for path, table, key in sorted(found)
        if table not in known or (key and key not in known[table])
    ]
    assert not wrong


def entries(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Table and key of everything that a TOML document sets."""
    for key, value in table.items():
        yield prefix, key
        inner = value if isinstance(value, list) else [value]
        for one in inner:
            if isinstance(one, dict):
                yield from entries(one, f"{prefix}.{key}".lstrip("."))


def test_settings_that_pages_show_are_there() -> None:
    known = known_tables()
    blocks = [
        (path, block)
        for path in all_pages()
        for language, block in FENCE.findall(path.read_text(encoding="utf-8"))
        if language == "toml"
    ]
    assert len(blocks) > 8
    shown = {(path, *one) for path, block in blocks for one in entries(tomllib.loads(block))}
    wrong = [
        f"{path.relative_to(ROOT)}: [{table}] {key}" for path, table, key in sorted(shown) if key not in known[table]
    ]
    assert not wrong


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy").rglob("*.service")), ids=lambda path: path.name)
def test_units_start_what_is_there(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    started = re.findall(r"^ExecStart=\S*/(acinus-.*)$", text, re.MULTILINE)
    assert len(started) == 1
    words = started[0].split()
    assert wrong_word(words) is None
    homes = [one.envvar for one in PROGRAMS[words[0]].params if "--home" in one.opts]
    assert f"Environment={homes[0]}=/" in text


def test_the_prices_of_plans_are_right() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| (.*) \|$", page("how-to/coordinate.md"), re.MULTILINE)
    assert len(rows) == 4
    for sigma, cells in (rows[0], rows[-1]):  # the corners; the accountants take a quarter of a second for each
        for q, cell in ((0.1, cells.split(" | ")[0]), (0.5, cells.split(" | ")[-1])):
            for steps, said in zip((12, 40, 100), cell.split(", "), strict=True):
                use = Event(noise_multiplier=float(sigma), sample_rate=q, steps=steps, clipping_norm=1.0)
                assert f"{course([use], 1e-5)[-1]:.1f}" == said, (sigma, q, steps)


def test_pages_that_programs_name_are_there() -> None:
    packages = ("client", "server", "registry_api", "models", "identity", "strategies", "protocol", "deploy", "bench")
    sources = [
        p for package in packages for p in (ROOT / package).rglob("*") if p.suffix in {".py", ".service", ".html"}
    ]
    named = {(p, page) for p in sources for page in re.findall(r"docs/[\w/-]+\.md", p.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert not [f"{p.relative_to(ROOT)} names {page}" for p, page in named if not (ROOT / page).exists()]


def test_files_that_pages_name_are_there() -> None:
    packages = "client|server|registry_api|models|identity|strategies|protocol|deploy|tests|bench|examples"
    named = re.compile(rf"`((?:{packages})/[\w/-]+\.(?:py|proto))`")
    found = {(path, name) for path in all_pages() for name in named.findall(path.read_text(encoding="utf-8"))}
    assert len(found) > 100
    assert not [f"{path.relative_to(ROOT)} names {name}" for path, name in found if not (ROOT / name).exists()]


def test_every_threat_names_tests_that_are_there_or_says_that_it_is_open() -> None:
    table, _, left_open = page("explanation/threats.md").partition("## Left open")
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| Tries")]
    assert len(rows) > 40
    named = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
    assert [row for row in rows if not named.search(row)] == []
    gone = []
    for path, name in {*named.findall(table), *named.findall(left_open)}:
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        if not re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE):
            gone.append(f"{path}::{name}")
    assert gone == []


def test_every_decision_is_in_the_index() -> None:
    index = page("adr/README.md")
    assert not [path.name for path in (DOCS / "adr").glob("0*.md") if f"({path.name})" not in index]


def test_no_word_of_the_glossary_has_two_lines() -> None:
    lines = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    words = [line.split("|")[1].strip() for line in lines if line.startswith("| ") and "| Word |" not in line]
    assert len(words) > 50
    assert len(set(words)) == len(words)


def test_links_between_pages_lead_somewhere() -> None:
    link = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
    found = {(path, target) for path in all_pages() for target in link.findall(path.read_text(encoding="utf-8"))}
    assert not [f"{path.relative_to(ROOT)} → {to}" for path, to in found if not (path.parent / to).exists()]


def headings(path: Path) -> set[str]:
    """The anchors of a page: headings as GitHub names them."""
    lines = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def test_links_into_pages_lead_to_a_heading() -> None:
    link = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
    found = {(path, *two) for path in all_pages() for two in link.findall(path.read_text(encoding="utf-8"))}
    assert found
    broken = []
    for path, target, anchor in found:
        page_of = path.parent / target if target else path
        if page_of.exists() and anchor not in headings(page_of):
            broken += [f"{path.relative_to(ROOT)} → {target}#{anchor}"]
    assert not broken


def test_no_page_names_the_machine_it_was_written_on() -> None:
    absolute = re.compile(r"(?<![\w.$}/-])/(work|farm|root|home|tmp)/\w")
    named = [p.relative_to(ROOT) for p in DOCS.rglob("*.md") if absolute.search(p.read_text(encoding="utf-8"))]
    assert not named
