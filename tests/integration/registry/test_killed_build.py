"""A release build is killed as a process, in its middle, and run again: the release has the bytes that an undisturbed one gives."""

import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry_api.cases.service import accept_case
from registry_api.enrolment.tables import SiteRow
from registry_api.keyfiles import load_signing_key
from registry_api.releases.build import build_release
from registry_api.releases.tables import CountReleaseRow
from registry_api.runtime import disclosure_rule
from registry_api.schema import open_database
from registry_api.settings import load_settings
from registry_api.units.service import ensure_unit
from tests.fakes.centre_home import make_centre_home
from tests.integration.registry.conftest import Program
from tests.integration.registry.test_postgresql import case

PATIENCE_SECONDS = 60
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A registry that does not serve, with records of two hospitals and four weeks."""
    home = make_centre_home(tmp_path / "home")
    database = open_database(load_settings(home))
    with database.writing() as session:
        ensure_unit(session, "XA-N")
        session.add_all([SiteRow(site=name, region="XA-N", enrolled_at=NOW) for name in ("north-a", "north-b")])
        session.flush()
        for number in range(160):
            record = case(
                number, epi_week=f"2026-W0{5 + number % 4}", severity_band=("mild", "severe")[number % 7 == 0]
            )
            accept_case(session, f"north-{'ab'[number // 4 % 2]}", record, NOW)
    database.close()
    return Program(home, 0, 0)


@pytest.mark.slow
def test_a_build_that_is_killed_and_run_again_gives_the_same_bytes(program: Program, tmp_path: Path) -> None:
    undisturbed = shutil.copytree(program.home, tmp_path / "undisturbed")
    with closing(sqlite3.connect(program.home / "registry.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # whoever builds gets as far as the one thing that it writes, and no farther
        kill_in_the_middle(program, after=0.2)
        assert writer.execute("SELECT count(*) FROM count_releases").fetchone() == (0,)
        writer.execute("ROLLBACK")
    again, expected = program.json("release", "build"), built_here(undisturbed)
    assert (again["release"], again["new"], again["weeks"]) == (1, True, 4)
    assert (again["sha256"], again["signature"]) == (expected.sha256, expected.signature)
    assert body(program) == expected.body


def kill_in_the_middle(program: Program, *, after: float) -> None:
    """Start a build, and kill it so many seconds after it has the turn to build."""
    with subprocess.Popen(program.command("release", "build"), stderr=subprocess.PIPE, text=True) as child:
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds_the_turn(child.pid):
            assert child.poll() is None, child.stderr and child.stderr.read()
            assert time.monotonic() < end, "it never had the turn"
            time.sleep(0.01)
        time.sleep(after)
        assert child.poll() is None, "it ended by itself"
        child.kill()
        assert child.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def built_here(home: Path) -> CountReleaseRow:
    """Build the release of a registry in this process."""
    settings = load_settings(home)
    database = open_database(settings)
    key = load_signing_key(settings.within(settings.secrets.counts))
    row = build_release(database, disclosure_rule(settings), key=key, now=NOW).row
    database.close()
    return row


def holds_the_turn(process: int) -> bool:
    """Say whether a process holds a file lock (`flock`), as the kernel lists them."""
    locks = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any("FLOCK" in one and str(process) in one for one in locks)


def body(program: Program) -> bytes:
    with closing(sqlite3.connect(program.home / "registry.db")) as database:
        [(found,)] = database.execute("SELECT body FROM count_releases").fetchall()
    return bytes(found)
