"""The documentation is tested: what the code has and the pages lack is a failure."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from client.gate.policy import SitePolicy
from client.settings import NodeSettings
from deploy import reference
from protocol.codes import Code
from registry_api.reading.lifecycle import State
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
    packages = ("client", "server", "registry_api", "models", "strategies", "protocol")
    sources = [p for package in packages for p in (ROOT / package).rglob("*.py") if p.name != "codes.py"]
    assert any(f"Code.{code.name}" in p.read_text(encoding="utf-8") for p in sources), f"nothing ever says {code}"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (NodeSettings, "reference/node.md"),
        (SitePolicy, "reference/node.md"),
        (CentreSettings, "reference/centre.md"),
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
                if verb in {"get", "post", "put", "delete"} and isinstance(first, ast.Constant):
                    if isinstance(first.value, str) and first.value.startswith("/"):
                        found.append(first.value)
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


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for path in [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} → {target}")
    assert not broken


def test_no_page_names_the_machine_it_was_written_on() -> None:
    absolute = re.compile(r"(?<![\w.$}/-])/(work|farm|root|home|tmp)/\w")
    named = [p.relative_to(ROOT) for p in DOCS.rglob("*.md") if absolute.search(p.read_text(encoding="utf-8"))]
    assert not named
