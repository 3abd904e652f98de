"""A real link of the centre, and a node that is enrolled with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.enrolled import EnrolledNode, RealLink


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[RealLink]:
    running = RealLink(tmp_path / "centre")
    running.start()
    yield running
    running.close()


@pytest.fixture
def node(tmp_path: Path, centre: RealLink) -> EnrolledNode:
    made = EnrolledNode(tmp_path / "node", centre)
    made.enrol()
    return made
