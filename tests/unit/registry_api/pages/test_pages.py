"""Pages: what a ministry reads is what the release says; masks are words; everything is escaped; no inline script, no other host."""

import re
from html.parser import HTMLParser

import pytest

from registry_api.pages.figures import FIGURES
from registry_api.pages.render import STATIC
from registry_api.pages.wording import show
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.releases.build import build_release
from registry_api.releases.disclosure import Cell, Status
from registry_api.releases.parquet import available
from registry_api.runtime import disclosure_rule
from tests.fakes.asgi_client import AsgiClient
from tests.unit.registry_api.conftest import Registry


class Outline(HTMLParser):
    """What matters of a page: the cells of its tables, its tags and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
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
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            row = self.tables[-1][-1]
            row[-1] = (row[-1] + data).strip()


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


def outline(client: AsgiClient, headers: dict[str, str], query: str = "") -> Outline:
    answer = client.get(f"/registry{query}", headers=headers)
    assert answer.status_code == 200
    return Outline(answer.text)


def table_of(client: AsgiClient, headers: dict[str, str], query: str = "") -> list[list[str]]:
    """The table by week, which stands last."""
    return outline(client, headers, query).tables[-1]


def test_the_table_says_what_the_release_says_of_the_chosen_place(
    counted: Registry, client: AsgiClient, bearer
) -> None:
    headers = bearer(Role.MINISTRY)
    head, *rows = table_of(client, headers)
    assert head == ["Week", "All", "none", "mild", "moderate", "severe"]
    assert rows == [["2026-W08", "60", "0", "withheld", "0", "1–10"], ["2026-W07", "15", "0", "15", "0", "0"]]
    _, *rows = table_of(client, headers, "?place=XA-N")
    assert rows == [["2026-W08", "30", "0", "withheld", "0", "1–10"], ["2026-W07", "1–10", "0", "1–10", "0", "0"]]


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * one for one in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_what_has_the_focus_stands_out_from_what_is_around_it() -> None:
    """WCAG 2.2, 1.4.11: three to one."""
    style = (STATIC / "acinus.css").read_text()
    [ring] = re.findall(r":focus-visible \{ outline: 3px solid (#\w+)", style)
    for name in ("paper", "ground", "soft"):
        [around] = re.findall(rf"--{name}: (#\w+);", style)
        assert (luminance(around) + 0.05) / (luminance(ring) + 0.05) >= 3


def test_every_figure_has_its_numbers_as_a_table(counted: Registry, client: AsgiClient, bearer) -> None:
    found = outline(client, bearer(Role.MINISTRY))
    trend, regions, severity, ggo, ages, completeness, quality, _ = found.tables
    assert found.tags.count("svg") == len(FIGURES) == 6
    assert trend[-2:] == [["2026-W07", "15"], ["2026-W08", "60"]]
    assert trend[1] == ["2025-W49", "–"]
    assert regions == [
        ["Code", "Region", "Studies", "per 100,000 people"],
        ["XA-N", "XA-N", "30", "–"],
        ["XA-S", "XA-S", "30", "–"],
    ]
    assert severity[1:] == [
        ["none", "0", "0 %"],
        ["mild", "withheld", "–"],
        ["moderate", "0", "0 %"],
        ["severe", "1–10", "–"],
    ]
    assert ggo[3] == ["5–25 %", "60", "100 %"]
    assert ages[0] == ["Age", "female", "male", "other", "unknown"]
    assert ages[-1] == ["unknown", "0", "0", "0", "60"]
    assert completeness[-1] == ["2026-W08", "4", "4"]
    assert quality[1:4] == [
        ["heard from in that week or since", "4", "4"],
        ["nearly all records in time", "4", "4"],
        ["Age known in nearly all records", "0", "4"],
    ]


def test_what_a_release_says_otherwise_is_shown_with_both_versions(
    counted: Registry, client: AsgiClient, bearer
) -> None:
    assert "What this release changed" not in client.get("/registry", headers=bearer(Role.MINISTRY)).text
    counted.cases("north-a", 10, week="2026-W07")
    counted.cases("north-b", 10, week="2026-W07", severity_band="severe")
    counted.build()
    *_, changes, _ = outline(client, bearer(Role.MINISTRY), "?place=XA").tables
    assert changes == [
        ["Week", "Version", "Severity (zone score)", "Before", "Now"],
        ["2026-W07", "v1 → v2", "All", "15", "30"],
        ["2026-W07", "v1 → v2", "mild", "15", "withheld"],
        ["2026-W07", "v1 → v2", "severe", "0", "1–10"],
    ]
    counted.cases("north-a", 15, week="2026-W09")
    counted.build()
    assert (
        "Nothing of this table that was published before."
        in client.get("/registry", headers=bearer(Role.MINISTRY)).text
    )


def test_the_glance_compares_with_the_week_before(counted: Registry, client: AsgiClient, bearer) -> None:
    text = client.get("/registry", headers=bearer(Role.MINISTRY)).text
    assert "+45 (+300 %)" in text
    assert "the true change lies between +31 and +56" in text
    assert "4 of 4" in text
    hidden = client.get("/registry?place=XA-N", headers=bearer(Role.MINISTRY)).text
    assert "not known: a number is hidden" in hidden


def test_an_earlier_week_may_be_looked_at(counted: Registry, client: AsgiClient, bearer) -> None:
    found = outline(client, bearer(Role.MINISTRY), "?week=2026-W07&weeks=26")
    assert len(found.tables[0]) == 1 + 26
    assert [row[0] for row in found.tables[-1][1:]] == ["2026-W07"]


def test_a_region_sees_itself_only_and_no_comparison_of_regions(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY, region="XA-S")
    text = client.get("/registry?place=XA-N", headers=headers).text
    assert "XA-N" not in text
    assert "XA-S" in text
    assert len(Outline(text).tables) == len(FIGURES) + 1, "none of regions, but one of hospitals and one by week"


@pytest.mark.parametrize("dimension", ["severity", "age", "sex", "pcr", "rsna", "ggo"])
def test_every_dimension_has_its_table(counted: Registry, client: AsgiClient, bearer, dimension: str) -> None:
    head, *rows = table_of(client, bearer(Role.AUDITOR), f"?by={dimension}&place=XA-N")
    assert len(head) > 4
    assert all(len(row) == len(head) for row in rows)


def test_no_page_shows_a_small_number(counted: Registry, client: AsgiClient, bearer) -> None:
    found = outline(client, bearer(Role.MINISTRY))
    counts = [
        cell for table in found.tables[:-3] for row in table[1:] for cell in row[1:] if re.fullmatch(r"\d+", cell)
    ]
    counts += [cell for row in found.tables[-1][1:] for cell in row[1:] if cell.isdecimal()]
    assert counts
    assert all(int(cell) == 0 or int(cell) > 10 for cell in counts)
    drawn = re.findall(r"<text[^>]*>(\d+)</text>", client.get("/registry?weeks=26", headers=bearer(Role.MINISTRY)).text)
    assert "60" in drawn


def test_strange_parameters_fall_back(counted: Registry, client: AsgiClient, bearer) -> None:
    assert table_of(client, bearer(Role.MINISTRY), "?by=hospital&place=XB&week=never")[0][2] == "none"


@pytest.mark.parametrize("region", ["XA", "XC"])
def test_before_the_first_release_of_its_places_the_page_says_so(client: AsgiClient, bearer, region: str) -> None:
    assert "No release yet" in client.get("/registry", headers=bearer(Role.MINISTRY, region=region)).text


def test_a_ministry_without_counts_is_told_so(counted: Registry, client: AsgiClient, bearer) -> None:
    assert "No release yet" in client.get("/registry", headers=bearer(Role.MINISTRY, region="XC")).text


@pytest.mark.parametrize("name", FIGURES)
def test_every_chart_comes_as_a_file_that_stands_alone(
    counted: Registry, client: AsgiClient, bearer, name: str
) -> None:
    answer = client.get(f"/registry/releases/1/{name}.svg?place=XA&week=2026-W08", headers=bearer(Role.MINISTRY))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/svg+xml")
    assert f"{name}-XA-2026-W08-release-1.svg" in answer.headers["Content-Disposition"]
    assert answer.text.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert not re.search(r"<script|<style| style=|href|url\((?!#)", answer.text)


@pytest.mark.parametrize("path", ["2/trend", "1/nothing", "1/regions"])
def test_a_chart_that_is_not_there_is_not_found(counted: Registry, client: AsgiClient, bearer, path: str) -> None:
    answer = client.get(f"/registry/releases/{path}.svg", headers=bearer(Role.MINISTRY, region="XA-S"))
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/", "/login", "/registry", "/alerts", "/nowhere"])
def test_pages_have_no_inline_script_or_style_and_lead_nowhere_else(
    counted: Registry, client: AsgiClient, bearer, path: str
) -> None:
    text = client.get(path, headers=bearer(Role.MINISTRY)).text
    found = Outline(text)
    assert not {"style", "iframe"} & set(found.tags)
    assert re.findall(r"<script[^>]*>[^<]+", text) == []
    assert found.tags.count("h1") == 1
    assert all(target.startswith(("/", "#")) for target in found.targets)
    assert found.fields <= found.labels


def test_downloads_of_the_page_are_there(counted: Registry, client: AsgiClient, bearer) -> None:
    headers = bearer(Role.MINISTRY)
    targets = outline(client, headers).targets
    downloads = [target for target in targets if target.startswith(("/v1/", "/registry/releases/"))]
    assert len(downloads) == 6 + available() + len(FIGURES)
    assert {client.get(path, headers=headers).status_code for path in downloads} == {200}


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

    assert menu(Role.MINISTRY) == {"/registry", "/alerts"}
    assert menu(Role.READER) == {"/worklist"}
    assert menu(Role.HOSPITAL) == {"/quality"}
    assert menu(Role.COORDINATOR) == {"/registry", "/alerts", "/worklist"}


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
    shown = show(cell)
    assert (shown.text, shown.hidden) == (text, hidden)
    assert bool(shown.note) is hidden
