"""A witness keeps everything in the order in which it came, for its owner's eyes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.witness import FILE, Witness


def test_what_it_saw_is_kept_also_by_the_next_one(tmp_path: Path) -> None:
    Witness(tmp_path / "a" / "b").saw(b"one", b"two")
    Witness(tmp_path / "a" / "b").saw(b"three")
    assert (tmp_path / "a" / "b" / FILE).read_bytes() == b"one\ntwo\nthree\n"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_requests_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    requests = [b"%d" % number * 2000 for number in range(10)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(witness.saw, requests * 5))
    assert sorted((tmp_path / FILE).read_bytes().split()) == sorted(requests * 5)
