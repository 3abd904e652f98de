"""Pages: what a ministry reads is what the release says; masks are words; everything is escaped; no script, no other host."""

import re
from html.parser import HTMLParser

import pytest

from registry_api.pages.chart import Bar, bar_chart
from registry_api.pages.counts import show
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.releases.build import build_release
from registry_api.releases.disclosure import Cell, Status
from registry_api.runtime import disclosure_rule
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry
from tests.unit.registry_api.releases.tables_of_studies import RULE


class Outline(HTMLParser):
    """What matters of a page: the cells of its tables, its tags and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append(tag)
        self.targets += [value for name in ("href", "src", "action") if (value := attributes.get(name))]
        if tag == "label":
            self.labels.add(attributes.get("for") or "")
        if tag in ("input", "select") and attributes.get("type") != "hidden":
            self.fields.add(attributes.get("id") or "")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] = (self.rows[-1][-1] + data).strip()


@pytest.fixture
def counted(registry: Registry) -> Registry:
    for site, region in {"north-a": "XA-N", "north-b": "XA-N", "south-a": "XA-S", "south-b": "XA-S"}.items():
        registry.enrol(site, region)
        registry.cases(site, 13)
        registry.cases(site, 2, severity_band="severe")
        registry.cases(site, 3, week="2026-W07")
    runtime = registry.runtime
    build_release(runtime.database, disclosure_rule(runtime.settings), key=runtime.counts_key, now=registry.clock())
    return registry


def table_of(client: AsgiClient, headers: dict[str, str], query: str = "") -> list[list[str]]:
    answer = client.get(f"/registry{query}", headers=headers)
    assert answer.status_code == 200
    return Outline(answer.text).rows


def test_the_table_says_what_the_release_says(counted: Registry, client: AsgiClient, bearer) -> None:
    head, *rows = table_of(client, bearer(Role.MINISTRY))
    assert head == ["Week", "Place", "All", "none", "mild", "moderate", "severe"]
    assert rows[0] == ["2026-W08", "XA", "60", "0", "withheld", "0", "1–10"]
    assert rows[1] == ["2026-W08", "XA-N", "30", "0", "withheld", "0", "1–10"]
    assert [row[1] for row in rows] == ["XA", "XA-N", "XA-S"] * 2
    assert rows[4][2] == "1–10"


def test_a_region_sees_its_own_rows_only(counted: Registry, client: AsgiClient, bearer) -> None:
    _, *rows = table_of(client, bearer(Role.MINISTRY, region="XA-S"))
    assert {row[1] for row in rows} == {"XA-S"}
    page = client.get("/registry?place=XA-N", headers=bearer(Role.MINISTRY, region="XA-S")).text
    assert "XA-N" not in page


@pytest.mark.parametrize("dimension", ["severity", "age", "sex", "pcr", "rsna"])
def test_every_dimension_has_its_table(counted: Registry, client: AsgiClient, bearer, dimension: str) -> None:
    head, *rows = table_of(client, bearer(Role.AUDITOR), f"?by={dimension}&place=XA-N")
    assert len(head) > 5
    assert all(len(row) == len(head) for row in rows)


def test_no_page_shows_a_small_number(counted: Registry, client: AsgiClient, bearer) -> None:
    for row in table_of(client, bearer(Role.MINISTRY))[1:]:
        for cell in row[2:]:
            assert cell in ("1–10", "withheld") or int(cell) == 0 or int(cell) > 10


def test_strange_parameters_fall_back(counted: Registry, client: AsgiClient, bearer) -> None:
    assert table_of(client, bearer(Role.MINISTRY), "?by=hospital&place=XB")[0][3] == "none"


def test_before_the_first_release_the_page_says_so(client: AsgiClient, bearer) -> None:
    assert "No release yet" in client.get("/registry", headers=bearer(Role.MINISTRY)).text


@pytest.mark.parametrize("path", ["/", "/login", "/registry", "/nowhere"])
def test_pages_have_no_script_no_inline_style_and_lead_nowhere_else(
    counted: Registry, client: AsgiClient, bearer, path: str
) -> None:
    outline = Outline(client.get(path, headers=bearer(Role.MINISTRY)).text)
    assert not {"script", "style", "iframe"} & set(outline.tags)
    assert outline.tags.count("h1") == 1
    assert all(target.startswith(("/", "#")) for target in outline.targets)
    assert outline.fields <= outline.labels


def test_downloads_of_the_page_are_there(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    outline = Outline(client.get("/registry", headers=headers).text)
    downloads = [target for target in outline.targets if target.startswith("/v1/")]
    assert len(downloads) == 5
    assert [client.get(path, headers=headers).status_code for path in downloads] == [200] * 5


def test_a_name_is_escaped(registry: Registry, client: AsgiClient) -> None:
    with registry.runtime.database.writing() as session:
        person = add_person(session, "<script>x</script>", role=Role.AUDITOR, region=None, now=registry.clock())
    text = client.get("/", headers={"Authorization": f"Bearer {person.api_key}"}).text
    assert "&lt;script&gt;" in text
    assert "<script" not in text


def test_the_menu_shows_what_the_role_may_open(client: AsgiClient, bearer) -> None:
    def menu(role: Role) -> set[str]:
        head = client.get("/", headers=bearer(role)).text.partition("<main")[0]
        return set(re.findall(r'href="(/\w+)"', head))

    assert menu(Role.MINISTRY) == {"/registry"}
    assert menu(Role.READER) == {"/worklist"}
    assert menu(Role.HOSPITAL) == {"/quality"}
    assert menu(Role.COORDINATOR) == {"/registry", "/worklist"}


def test_a_failed_login_says_so_and_keeps_the_way_back(client: AsgiClient) -> None:
    answer = client.post("/login", data={"api_key": "wrong", "next": "/registry"})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert 'value="/registry"' in answer.text


@pytest.mark.parametrize(
    ("cell", "text", "hidden"),
    [
        (Cell(0, Status.PUBLISHED), "0", False),
        (Cell(25, Status.PUBLISHED), "25", False),
        (Cell(None, Status.MASKED, "1-10"), "1–10", True),
        (Cell(None, Status.WITHHELD), "withheld", True),
    ],
)
def test_a_mask_is_a_word(cell: Cell, text: str, *, hidden: bool) -> None:
    shown = show(cell, RULE)
    assert (shown.text, shown.hidden) == (text, hidden)
    assert bool(shown.note) is hidden


def heights(chart: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"bar": [], "hidden": []}
    for kind, height in re.findall(r'<rect class="(bar|hidden)"[^>]* height="([\d.]+)"', chart):
        found[kind].append(float(height))
    return found


def test_bars_are_as_high_as_their_numbers_and_hidden_ones_all_alike() -> None:
    bars = [Bar("W01", 100), Bar("W02", 50), Bar("W03", None, "1–10"), Bar("W04", None, "withheld"), Bar("W05", 0)]
    drawn = heights(bar_chart(bars, title="t"))
    assert drawn["bar"][0] == pytest.approx(2 * drawn["bar"][1], abs=0.2)
    assert drawn["bar"][2] == 0
    assert len(set(drawn["hidden"])) == 1


def test_a_chart_is_told_in_words_and_escaped() -> None:
    chart = bar_chart([Bar("<W>", None, "1–10"), Bar("W02", 15)], title="Studies & weeks")
    assert '<desc id="chart-text">&lt;W&gt;: 1–10; W02: 15</desc>' in chart
    assert "Studies &amp; weeks" in chart
    assert 'role="img"' in chart


@pytest.mark.parametrize("top", [0, 15, 95, 1000, 123_456])
def test_the_scale_has_few_lines_and_reaches_the_highest_bar(top: int) -> None:
    chart = bar_chart([Bar("W01", top)], title="t")
    assert 2 <= chart.count('class="axis"') <= 7
    assert heights(chart)["bar"][0] <= 192.1


def test_an_empty_chart_is_still_one() -> None:
    assert bar_chart([], title="t").startswith("<svg")
