"""Updates of a round on the disk: what is read is what was written, and nothing is left behind."""

from pathlib import Path

import numpy as np
import pytest

from protocol.codes import Code
from protocol.errors import UnavailableError
from server.spool import Spool, spooling
from strategies.arrays import layout_of
from tests.fakes.outcomes import code_of
from tests.fakes.updates import around, same

UPDATES = dict(zip(("westhill", "northport", "southbay"), around(1.0, 3, spread=1.0), strict=True))
LAYOUT = layout_of(UPDATES["westhill"])


def filled(spool: Spool) -> Spool:
    for site, update in UPDATES.items():
        spool.add(site, update)
    return spool


def test_updates_come_back_bit_for_bit_in_the_order_of_their_sites(tmp_path: Path) -> None:
    with spooling(tmp_path / "spool", LAYOUT) as spool:
        assert filled(spool).sites == ("northport", "southbay", "westhill")
        for site, update in zip(spool.sites, spool.stack().updates(), strict=True):
            assert same(update, UPDATES[site])


def test_an_update_that_lies_oddly_in_memory_is_written_in_order(tmp_path: Path) -> None:
    wide = np.zeros((3, 8), np.float32)
    wide[:, ::2] = np.arange(12, dtype=np.float32).reshape(3, 4)
    update = {"w": wide[:, ::2]}
    with spooling(tmp_path / "spool", layout_of(update)) as spool:
        spool.add("a-site", update)
        assert next(spool.stack().updates())["w"].tolist() == update["w"].tolist()


def test_the_files_are_closed_to_others_and_go_with_the_round(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with spooling(folder, LAYOUT) as spool:
        filled(spool)
        assert len(list(folder.iterdir())) == 3
        assert {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}
    assert not folder.exists()


def test_nothing_is_left_of_a_round_that_fails_or_of_a_process_that_died(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with pytest.raises(KeyError), spooling(folder, LAYOUT) as spool:
        filled(spool).add("a-site", {})
    assert not folder.exists()
    folder.mkdir()
    (folder / "0007.f32").write_bytes(b"left behind")
    with spooling(folder, LAYOUT):
        assert list(folder.iterdir()) == []


def test_a_file_that_was_cut_short_or_is_gone_ends_the_run_for_now(tmp_path: Path) -> None:
    with spooling(tmp_path / "spool", LAYOUT) as spool:
        stack = filled(spool).stack()
        first = tmp_path / "spool" / "0000.f32"
        first.write_bytes(first.read_bytes()[:-4])
        assert code_of(lambda: list(stack.blocks())) is Code.RUN_FAILED
        first.unlink()
        assert code_of(lambda: list(stack.blocks())) is Code.RUN_FAILED


def test_a_folder_that_cannot_be_made_is_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UnavailableError) as caught, spooling(tmp_path / "file" / "spool", LAYOUT):
        pass
    assert caught.value.code is Code.DISK_FULL
