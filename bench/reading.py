"""How fast reads are claimed and matched.

*Claims.* The registry as it is served (HTTPS, one process), on SQLite and, where it is installed, on PostgreSQL. 500 reads are in the hands of 100
other readers, who claimed and opened them and have a grant for each; as the worklist does, each read's heartbeat comes every twenty seconds, and a
grant that is half over is renewed. 1,650 wait at 50 hospitals, and 50 readers claim their next case once a second each: 50 claims a second for
half a minute, after three seconds that are not counted, in which a registry that has just started opens what it then keeps open; at the end
2,150 reads are in hand. A claim's time runs from when it was due to be sent to its answer, so that what
waits in a queue counts. What asks is HTTP by hand over 150 connections that stay open, which takes a tenth of a core: in life readers' programs
run on 150 machines of their own, and a client library for all of them took as much of these two cores as the registry. Goal: `claims_p99_ms` ≤ 100 (SQLite) and `claims_p99_ms_postgresql` ≤ 100, on two cores that also run the readers' programs. Beside
it, without other load: how long `GET /v1/reads/next` takes.

*Match.* 10,000 requests from 200 hospitals, 2,000 readers with room for one to five reads and agreements with 20 hospitals each. Ours: sparse
waves (`registry_api/reading/matcher.py`). Beside it the best that can be had, by one matching of all pairs at once; both from profiles in memory. What
a first attempt would use, one dense matrix of requests by places for `scipy.optimize.linear_sum_assignment`, comes to the same value and takes
ten minutes: it is run on a network of a tenth. `match_seconds` is of the whole, in a transaction on SQLite, `match_seconds_postgresql` the same there:
reading all that waits and all that is on file of the readers, assigning, and writing what was set aside. Goals: both ≤ 2, and
`value_vs_dense` ≥ 0.95: what the waves give away.
"""

import asyncio
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from scipy.optimize import linear_sum_assignment
from sqlmodel import Session

from bench.reading_world import NOW, Size, invent, store
from bench.table import Goal, Table, main
from protocol.reading import ReadOpened, ReadPost
from registry_api.database import Database, open_engine
from registry_api.enrolment.tables import SiteRow
from registry_api.reading import claims, service
from registry_api.reading.assignments import match
from registry_api.reading.matcher import assign, total_value
from registry_api.reading.readers import set_capacity
from registry_api.reading.seating import Pairs, Places, Seating
from registry_api.reading.solver import best_matching
from registry_api.reading.tables import GrantRow, ReadRequestRow
from registry_api.reading.worth import WEIGHTS, Batch
from registry_api.reading.worth import Table as Worths
from registry_api.schema import migrate, open_database
from registry_api.settings import load_settings
from tests.fakes import postgresql
from tests.fakes.centre_home import make_centre_home
from tests.fakes.ports import free_port
from tests.fakes.readers import ready_reader

GOALS = {
    "claims_p99_ms": Goal(100),
    "claims_p99_ms_postgresql": Goal(100),
    "match_seconds": Goal(2),
    "match_seconds_postgresql": Goal(2),
    "value_vs_dense": Goal(0.95, at_most=False),
}
FULL, QUICK = Size(10_000, 2_000, 200), Size(1_000, 200, 40)
IN_FLIGHT, HOLDERS, READERS, SECONDS, WARM_SECONDS = 500, 100, 50, 30, 3
BEAT_SECONDS = 20
"""As `pages.worklist.BEAT_MS`."""
WAITING = READERS * (WARM_SECONDS + SECONDS)


def measure(quick: bool) -> Table:
    """Match, then claim, on each database."""
    table = Table(goals=GOALS)
    size, rounds, seconds = (QUICK, 1, 4) if quick else (FULL, 5, SECONDS)
    batch = invent(size)
    expected = _match(table, batch, rounds=rounds)
    _whole(table, "SQLite", "match_seconds", batch, [_sqlite_match(batch, expected) for _ in range(rounds)])
    _claims(table, "SQLite", "claims_p99_ms", "", seconds)
    if not postgresql.installed():
        table.remarks.append("PostgreSQL is not installed here.")
        return table
    with tempfile.TemporaryDirectory(prefix="bench-postgresql-") as folder, postgresql.running(Path(folder)) as url:
        _claims(table, "PostgreSQL", "claims_p99_ms_postgresql", url, seconds)
    spent = [_postgresql_match(batch, expected) for _ in range(rounds)]
    _whole(table, "PostgreSQL", "match_seconds_postgresql", batch, spent)
    return table


# Matching.


def _match(table: Table, batch: Batch, *, rounds: int) -> int:
    """Match what is in memory, and find what could be had; return how many were assigned."""
    case = _case(batch)
    best_matching([0], [0], [1.0], shape=(1, 1))  # loads SciPy, which the running registry has loaded
    spent, made = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        made = assign(batch, now=NOW, solve=best_matching)
        spent.append(time.perf_counter() - began)
    began = time.perf_counter()
    best = _best(batch)
    best_seconds = time.perf_counter() - began
    value = total_value(made, batch, now=NOW)
    for name, seconds, many, worth in (
        ("sparse waves", statistics.median(spent), len(made), value),
        ("one matching", best_seconds, *best),
    ):
        table.add(f"{case}: {name}", "whole", seconds, "s")
        table.add(f"{case}: {name}", "assigned", many, "requests")
        table.add(f"{case}: {name}", "value", worth, "")
    table.ratios["value_vs_dense"] = value / best[1]
    _match_dense(table, invent(QUICK))
    table.remarks.append(f"Matching: median of {rounds} rounds; one matching and the dense assignment ran once.")
    return len(made)


def _match_dense(table: Table, batch: Batch) -> None:
    """Hold ours against the dense assignment where that can be had, and the one matching against its value."""
    began = time.perf_counter()
    assign(batch, now=NOW, solve=best_matching)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    value = _dense(batch)
    dense = time.perf_counter() - began
    if abs(value - _best(batch)[1]) > 1e-6 * value:
        raise RuntimeError("one matching of all pairs and the dense assignment differ in value")
    table.add(f"{_case(batch)}: dense assignment", "whole", dense, "s")
    table.ratios["seconds_vs_dense"] = ours / dense


def _case(batch: Batch) -> str:
    return f"{len(batch.waiting):,} requests, {len(batch.readers):,} readers"


def _whole(table: Table, name: str, ratio: str, batch: Batch, spent: list[float]) -> None:
    table.add(f"{_case(batch)}: from the database to the database, {name}", "whole", statistics.median(spent), "s")
    table.ratios[ratio] = statistics.median(spent)


def _sqlite_match(batch: Batch, expected: int) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-match-") as folder:
        return _whole_match(f"sqlite:///{folder}/registry.db", batch, expected)


def _postgresql_match(batch: Batch, expected: int) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-match-") as folder, postgresql.running(Path(folder)) as url:
        return _whole_match(url, batch, expected)


def _whole_match(url: str, batch: Batch, expected: int) -> float:
    """Return the seconds of one run of the matcher as the registry makes it, on an empty database."""
    engine = open_engine(url)
    migrate(engine)
    engine.dialect.use_insertmanyvalues_wo_returning = (
        True  # a hundred thousand rows one by one would take PostgreSQL minutes
    )
    database = Database(engine)
    with database.writing() as session:
        store(session, batch)
    began = time.perf_counter()
    with database.writing() as session:
        found = match(session, now=NOW)
    seconds = time.perf_counter() - began
    database.close()
    # What lately was read and is in hand is not stored: nearly the same.
    if abs(len(found.made) - expected) > expected // 50:
        raise RuntimeError(f"{len(found.made)} were set aside, and {expected} from the same batch in memory")
    return seconds


def _best(batch: Batch) -> tuple[int, float]:
    """Return how many are assigned, and the value, where every request is held against every place at once."""
    seating, places, pairs = _all_pairs(batch)
    shape = len(seating.order), len(places.reader)
    made = best_matching(pairs.rows, pairs.columns, pairs.values, shape=shape, tolls=places.cost)
    matched = np.asarray([row * shape[1] + column for row, column in made.items()])
    return len(made), float(pairs.values[np.isin(pairs.rows * shape[1] + pairs.columns, matched)].sum())


def _dense(batch: Batch) -> float:
    """Return the value of the best assignment there is, by one matrix with a row for each request and a column for each place."""
    seating, places, pairs = _all_pairs(batch)
    values = np.zeros((len(seating.order), len(places.reader)), dtype=np.float64)
    values[pairs.rows, pairs.columns] = pairs.values
    return float(values[linear_sum_assignment(values, maximize=True)].sum())


def _all_pairs(batch: Batch) -> tuple[Seating, Places, Pairs]:
    seating = Seating(Worths(batch, NOW, WEIGHTS))
    places = seating.places(each=None)
    return seating, places, seating.pairs(range(len(seating.order)), places, candidates=None)


# Claiming.


def _claims(table: Table, name: str, ratio: str, url: str, seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-reading-") as scratch:
        port = free_port()
        home = make_centre_home(Path(scratch, "home"), http_port=port, link_port=free_port())
        if url:
            with (home / "registry.toml").open("a", encoding="utf-8") as file:
                file.write(f'[database]\nurl = "{url}"\n')
        database = open_database(load_settings(home))
        filled = _fill(database)
        database.close()
        with _served(home, port):
            found = asyncio.run(_read(port, home / "pki" / "ca.pem", filled, seconds))
    waited = sorted(found["claim"])
    for label, share in (("median", 0.5), ("p99", 0.99), ("longest", 1.0)):
        table.add(f"{name}: claims", label, _share(waited, share), "ms")
    table.add(f"{name}: next case", "p99", _share(sorted(found["next"]), 0.99), "ms")
    table.add(f"{name}: claims", "rate", len(waited) / seconds, "1/s")
    table.add(f"{name}: heartbeats", "p99", _share(sorted(found["beat"]), 0.99), "ms")
    table.add(f"{name}: heartbeats", "rate", len(found["beat"]) / seconds, "1/s")
    table.ratios[ratio] = _share(waited, 0.99)


def _share(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class _Filled:
    """Who will claim, by API key, and what is in hand: (API key, claim)."""

    keys: list[str]
    held: list[tuple[str, str]]


def _fill(database: Database) -> _Filled:
    """Write hospitals, readers, the reads in hand and those that wait."""
    now = datetime.now(UTC)
    sites = [f"hospital-{number}" for number in range(READERS)]
    keys, held = [], []
    with database.writing() as session:
        for number, site in enumerate(sites):
            session.add(SiteRow(site=site, region="XA", gateway_origin="https://gateway.example:9443", enrolled_at=now))
            session.flush()
            reader = ready_reader(session, f"Reader {number}", sites=(site,), now=now)
            set_capacity(session, reader.person_id, capacity=50)
            keys.append(reader.api_key)
            for place in range((IN_FLIGHT + WAITING) // READERS):
                service.accept_post(session, site, _post(_request_id(number, place)), now)
        each = IN_FLIGHT // HOLDERS
        for number in range(HOLDERS):
            hospital, turn = number % READERS, number // READERS
            holder = ready_reader(session, f"Holder {number}", sites=(sites[hospital],), now=now)
            places = range(turn * each, turn * each + each)
            held += [
                (holder.api_key, _hold(session, holder.person_id, _request_id(hospital, one), now)) for one in places
            ]
    return _Filled(keys, held)


def _hold(session: Session, reader_id: str, request_id: str, now: datetime) -> str:
    """Claim a read and open it, with a grant somewhere in its ten minutes; return the claim."""
    made = claims.claim(session, request_id, reader_id, now=now)
    opened = ReadOpened(request_id=request_id, claim_id=made.claim_id, fence=made.fence)
    service.accept_opened(session, session.get_one(ReadRequestRow, request_id).site, opened, now)
    left = timedelta(seconds=int(made.claim_id[:4], 16) % 600)
    session.add(GrantRow(jti=made.claim_id, claim_id=made.claim_id, jkt="j" * 43, expires_at=now + left))
    return made.claim_id


def _request_id(hospital: int, post: int) -> str:
    """Return an id that says of whom it is; of equals, the lower one is read first."""
    return f"{hospital:016x}{post:016x}"


def _post(request_id: str) -> ReadPost:
    return ReadPost.model_validate(
        {
            "request_id": request_id, "age_band": "60-69", "sex": "female", "slices": 300, "megabytes": 150, "ggo_percent": 12,
            "jurisdiction": "XA", "language": "en",
        }
    )  # fmt: skip


@contextmanager
def _served(home: Path, port: int) -> Iterator[None]:
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "registry_api.cli", "--home", str(home), "serve"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trust = ssl.create_default_context(cafile=home / "pki" / "ca.pem")
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"https://localhost:{port}/v1/health", verify=trust, trust_env=False)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


async def _read(port: int, ca: Path, filled: _Filled, seconds: int) -> dict[str, list[float]]:
    """Let every reader claim once a second, and the others' heartbeats come; return milliseconds by step."""
    found: dict[str, list[float]] = {"next": [], "claim": [], "beat": []}
    # Every reader has a connection before the clock runs: readers' programs keep theirs.
    async with _Lines.opened(port, ca, READERS + HOLDERS) as lines:
        for key in filled.keys:
            began = time.perf_counter()
            await lines.ask("GET", "/reads/next", key)
            found["next"].append(1000 * (time.perf_counter() - began))
        begins = time.perf_counter() + 0.5
        readers = (_reader(lines, number, begins, seconds, found) for number in enumerate(filled.keys))
        beats = (_beats(lines, number, begins, seconds, found) for number in enumerate(filled.held))
        await asyncio.gather(*readers, *beats)
    return found


async def _beats(
    lines: "_Lines",
    what: tuple[int, tuple[str, str]],
    begins: float,
    seconds: int,
    found: dict[str, list[float]],
) -> None:
    """Say every twenty seconds that the reader of a claim is still there; the claims come one after the other."""
    number, (key, claim_id) = what
    due = begins + BEAT_SECONDS * number / IN_FLIGHT
    while due < begins + WARM_SECONDS + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await lines.ask("PUT", f"/claims/{claim_id}/heartbeat", key)
        if due >= begins + WARM_SECONDS:
            found["beat"].append(1000 * (time.perf_counter() - due))
        due += BEAT_SECONDS


async def _reader(
    lines: "_Lines", who: tuple[int, str], begins: float, seconds: int, found: dict[str, list[float]]
) -> None:
    number, key = who
    for second in range(WARM_SECONDS + seconds):
        due = begins + second + number / READERS
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        request_id = _request_id(number, IN_FLIGHT // READERS + second)
        await lines.ask("POST", f"/reads/{request_id}/claims", key)
        if second >= WARM_SECONDS:
            found["claim"].append(1000 * (time.perf_counter() - due))


class _Lines:
    """Connections to the registry that stay open; a question takes one that is free. HTTP/1.1 by hand, for what a client adds to it is not measured."""

    def __init__(self, lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.LifoQueue()
        self._lines = lines
        for line in lines:
            self._free.put_nowait(line)

    @classmethod
    @asynccontextmanager
    async def opened(cls, port: int, ca: Path, many: int) -> AsyncIterator["_Lines"]:
        """Open so many, one after the other."""
        trust = ssl.create_default_context(cafile=ca)
        opened = cls([await asyncio.open_connection("localhost", port, ssl=trust) for _ in range(many)])
        try:
            yield opened
        finally:
            for _, writer in opened._lines:
                writer.close()

    async def ask(self, method: str, path: str, key: str) -> None:
        """Send a question and wait for the whole answer.

        Raises:
            RuntimeError: If it is an error.
        """
        line = reader, writer = await self._free.get()
        writer.write(
            f"{method} /v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(one[15:]) for one in head.split(b"\r\n") if one.startswith(b"content-length:"))
        body = await reader.readexactly(length)
        self._free.put_nowait(line)
        if not head.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{method} {path}: {head.split(b' ')[1].decode()} {body.decode()}")


if __name__ == "__main__":
    main("reading", __doc__ or "", measure)
