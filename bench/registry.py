"""The registry under the load of a continent: a release of millions of case records, counts for many callers, a thousand nodes on the link.

Release: 10 million records of 1,000 hospitals in 13 regions, two years of weeks, on SQLite and on PostgreSQL. `release_seconds` and
`release_gib` are time and greatest memory of the weekly build (the newest week and the four before it, all others taken over), on the slower
database, in a process of its own; the first build, which counts all weeks, is reported beside it.

Counts: one server process on one core and its callers on the other, plain HTTP, 20 ministries with 12 questions each. `p99_ms` is the 99th
percentile at 1,000 requests a second, from the moment each was due (open loop). `rate_vs_static` is the rate that goes through by the rate
of a bare route of Starlette that answers with the same bytes under the same server, in turns. Beside it: questions that nobody asked before, each once.

Link: `ingest_per_s` is case records a second, from the first parcel to the last verdict, with 1,000 nodes connected over TLS, each with
a certificate of its own; SQLite, every verdict after its commit. Clients share the other core.

Goals: `release_seconds` ≤ 60, `release_gib` ≤ 1, `p99_ms` ≤ 10, `rate_vs_static` ≥ 0.5, `ingest_per_s` ≥ 2,000.
"""

import http.client
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median

from bench.registry_parts.load import (
    as_fast_as_goes,
    at_a_rate,
    each_once,
    registry_app,
    request_for,
    serving,
    static_app,
)
from bench.registry_parts.nodes import enrol_nodes, ingest
from bench.registry_parts.records import (
    LAST_WEEK,
    WEEKS,
    add_records,
    count,
    make_network,
    settle,
    today_after,
)
from bench.table import Goal, Table, main
from registry_api.database import Database, open_engine
from registry_api.people.roles import Role
from registry_api.people.service import add_person
from registry_api.releases.build import build_release
from registry_api.releases.weeks import week_of, weeks_until
from registry_api.runtime import build_runtime, disclosure_rule
from registry_api.schema import migrate
from tests.fakes import postgresql
from tests.fakes.centre_home import make_centre_home
from tests.fakes.ports import free_port

GOALS = {
    "release_seconds": Goal(60),
    "release_gib": Goal(1),
    "p99_ms": Goal(10),
    "rate_vs_static": Goal(0.5, at_most=False),
    "ingest_per_s": Goal(2000, at_most=False),
}
RECORDS, QUICK_RECORDS = 10_000_000, 6_000
QUICK_WEEKS = 6
NODES, QUICK_NODES = 1000, 20
_KIB, _GIB = 1024, 1024**3


def measure(quick: bool) -> Table:
    """Measure the three parts, one after the other."""
    table = Table(goals=GOALS)
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as scratch:
        size = (QUICK_RECORDS, QUICK_WEEKS) if quick else (RECORDS, WEEKS)
        _releases(table, Path(scratch), *size)
        _counts(table, Path(scratch) / "sqlite", seconds=2.0 if quick else 20.0)
        _link(table, Path(scratch) / "link", nodes=QUICK_NODES if quick else NODES, each=20)
    return table


def _releases(table: Table, scratch: Path, records: int, weeks: int) -> None:
    weekly: list[tuple[float, float]] = []
    for name, home, url in _databases(scratch):
        print(f"{name}: {records:,} records", file=sys.stderr)
        first, second = _release_on(home, url, records, weeks)
        table.add(f"{name}, first release, all {weeks} weeks", "time", first[0], "s")
        table.add(f"{name}, first release, all {weeks} weeks", "peak memory", first[1], "GiB")
        table.add(f"{name}, weekly release", "time", second[0], "s")
        table.add(f"{name}, weekly release", "peak memory", second[1], "GiB")
        weekly.append(second)
    table.ratios["release_seconds"] = max(seconds for seconds, _ in weekly)
    table.ratios["release_gib"] = max(gib for _, gib in weekly)
    table.remarks.append(f"{records:,} records.")


def _databases(scratch: Path) -> Iterator[tuple[str, Path, str]]:
    """Give name, centre's folder and address of each database; the SQLite one stays for what comes after."""
    home = make_centre_home(scratch / "sqlite", http_port=free_port(), link_port=free_port())
    yield "SQLite", home, f"sqlite:///{home}/registry.db"
    if postgresql.installed():
        (scratch / "pg").mkdir()
        with postgresql.running(scratch / "pg") as url:
            yield "PostgreSQL", make_centre_home(scratch / "pg-home"), url
    else:
        print("PostgreSQL is not installed: SQLite only", file=sys.stderr)


def _release_on(
    home: Path, url: str, records: int, count_of_weeks: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fill a database, build the first release, add the next week and build again; return seconds and GiB of both."""
    weeks = weeks_until(LAST_WEEK, count=count_of_weeks)
    per_week = records // count_of_weeks
    with _opened(url) as database:
        make_network(database)
        add_records(database, weeks, per_week=per_week, start=0)
        settle(database)
        with database.reading() as session:
            print(f"  {count(session):,} stored", file=sys.stderr)
    first = _in_a_process(home, url, LAST_WEEK)
    following = week_of(today_after(LAST_WEEK))
    with _opened(url) as database:
        add_records(database, [following], per_week=per_week, start=records)
    return first, _in_a_process(home, url, following)


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    engine = open_engine(url)
    migrate(engine)
    database = Database(engine)
    yield database
    database.close()


def _in_a_process(home: Path, url: str, week: str) -> tuple[float, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, gib = pool.apply(_build, (str(home), url, week))
    print(f"  release up to {week}: {seconds:.1f} s, {gib:.2f} GiB", file=sys.stderr)
    return seconds, gib


def _build(home: str, url: str, week: str) -> tuple[float, float]:
    """Build a release as of the day after `week` has closed; return the seconds and the process's peak memory."""
    runtime = build_runtime(Path(home))
    now = datetime.combine(today_after(week), datetime.min.time(), UTC)
    with _opened(url) as database:
        began = time.perf_counter()
        built = build_release(database, disclosure_rule(runtime.settings), key=runtime.counts_key, now=now)
        seconds = time.perf_counter() - began
    if not built.new:
        raise RuntimeError("nothing had changed")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / _GIB


def _counts(table: Table, home: Path, *, seconds: float) -> None:
    with (home / "registry.toml").open("a", encoding="utf-8") as settings:
        settings.write("[limits]\nrequests_per_minute = 1000000\n")
    requests, unasked = _questions(home)
    with serving(registry_app, str(home)) as port:
        body = _body(port, requests[0])
        at_a_rate(port, requests, per_second=1000, seconds=1.0)
        took = at_a_rate(port, requests, per_second=1000, seconds=seconds)
        with serving(static_app, body) as bare:
            static = request_for("/bytes", "x" * 47)
            rates = [
                (
                    as_fast_as_goes(port, requests[:1], seconds=seconds / 4),
                    as_fast_as_goes(bare, [static], seconds=seconds / 4),
                )
                for _ in range(3)
            ]
        spread = as_fast_as_goes(port, requests, seconds=seconds / 4)
        new = each_once(port, unasked[: int(100 * seconds)])
    for name, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        table.add("1,000 requests/s, 240 questions", name, took[int(share * len(took))] * 1000, "ms")
    table.add("one question, closed loop", "registry", median(ours for ours, _ in rates), "answers/s")
    table.add("one question, closed loop", "static", median(theirs for _, theirs in rates), "answers/s")
    table.add("240 questions, closed loop", "registry", spread, "answers/s")
    table.add("questions that nobody asked before, closed loop", "registry", new, "answers/s")
    table.ratios["p99_ms"] = took[int(0.99 * len(took))] * 1000
    table.ratios["rate_vs_static"] = median(ours / theirs for ours, theirs in rates)
    table.remarks.append(f"The answer of the comparison with the static route has {len(body):,} bytes.")


def _questions(home: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the requests of 20 ministries with 12 questions each, and those of one of them about single weeks, all different."""
    runtime = build_runtime(home)
    with runtime.database.writing() as session:
        keys = [
            add_person(session, f"ministry {number}", role=Role.MINISTRY, region="XA", now=runtime.clock()).api_key
            for number in range(20)
        ]
    runtime.database.close()
    by = ("week", "week,severity", "region&week=2026-W08", "region,severity&week=2026-W08")
    kinds = ("counts?limit=100&by=", "series?by=", "comparison?by=")
    paths = [f"/v1/registry/{kind}{one.split('&')[0] if 'series' in kind else one}" for kind, one in product(kinds, by)]
    tables = (
        "severity,age",
        "severity,pcr",
        "age,sex",
        "age,rsna",
        "sex,pcr",
        "rsna,sex",
        "ggo",
        "age",
        "severity",
        "pcr",
        "rsna",
        "sex",
    )
    weeks = weeks_until(LAST_WEEK, count=WEEKS)
    single = [
        f"/v1/registry/counts?week={week}&by={level},{by_}"
        for by_, level, week in product(tables, ("region", "country"), weeks)
    ]
    return (
        [request_for(path, key) for path, key in product(paths, keys)],
        [request_for(path, keys[0]) for path in single],
    )


def _body(port: int, request: bytes) -> bytes:
    head = request.decode().split("\r\n")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", head[0].split(" ")[1], headers={"Authorization": head[2].partition(": ")[2]})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != http.client.OK:
        raise RuntimeError(f"the registry answers {answer.status}")
    connection.close()
    return body


def _link(table: Table, home: Path, *, nodes: int, each: int) -> None:
    make_centre_home(home, http_port=free_port(), link_port=free_port())
    runtime = build_runtime(home)
    identities = enrol_nodes(runtime, nodes)
    runtime.database.close()
    rate = ingest(home, identities, each=each)
    table.add(f"{nodes} nodes, {each} records each", "taken", rate, "records/s")
    table.ratios["ingest_per_s"] = rate


if __name__ == "__main__":
    main("registry", __doc__ or "", measure)
