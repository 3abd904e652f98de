import base64
import gzip
import json
import sqlite3
import zipfile
import zlib
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.leaks import Search, Searcher, layers, search
from deploy.local.planted import Identifier, Kind

NAME = Identifier(Kind.NAME, "Vrouthnaelm^Kvostbrynd")
ACCENTED = Identifier(Kind.NAME, "Zhåskquerth^Plynxtralm")
NUMBER = Identifier(Kind.NUMBER, "PID-4071-9938214")
DATE = Identifier(Kind.DATE, "20260214")
UID = Identifier(Kind.UID, "2.25.152393481839480129384710293847561029384")
PIXELS = Identifier(Kind.PIXELS, bytes(range(40, 88)).hex())
EVERY = (NAME, ACCENTED, NUMBER, DATE, UID, PIXELS)
NOISE = bytes((index * 7919) % 251 for index in range(5000))


def found(content: bytes, *identifiers: Identifier) -> set[Identifier]:
    searcher = Searcher(identifiers or EVERY)
    return {needle.identifier for _, layer in layers(content) for needle in searcher.find(layer)}


def searched(folder: Path) -> Search:
    return search(folder, EVERY)


@pytest.mark.parametrize(
    "written",
    [
        "Vrouthnaelm^Kvostbrynd",
        "VROUTHNAELM^KVOSTBRYND",
        "vrouthnaelm",
        "Dear Kvostbrynd Vrouthnaelm,",
        "Kvostbrynd^Vrouthnaelm",
        "Vrouthnaelm, Kvostbrynd",
    ],
)
def test_a_name_is_found_however_it_is_written(written: str) -> None:
    assert found(NOISE + written.encode() + NOISE) == {NAME}


@pytest.mark.parametrize("identifier", [NAME, ACCENTED, NUMBER, UID])
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: base64.b64encode(text.encode()),
        lambda text: base64.urlsafe_b64encode(b"x" + text.encode() + b"yz"),
        lambda text: base64.b64encode(b"xy" + text.encode() + b"z"),
        lambda text: text.encode().hex().encode(),
        lambda text: text.encode().hex().upper().encode(),
        lambda text: quote(text, safe="").encode(),
        lambda text: quote(text, safe="").lower().encode(),
        lambda text: json.dumps({"x": text}).encode(),
        lambda text: text.upper().encode(),
    ],
)
def test_an_encoding_does_not_hide_it(identifier: Identifier, encode) -> None:
    assert identifier in found(NOISE + encode(identifier.value) + NOISE)


def test_latin_1_does_not_hide_an_accented_name() -> None:
    assert ACCENTED in found("Herr Zhåskquerth".encode("latin-1"))


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda raw: gzip.compress(zlib.compress(raw))])
def test_compression_does_not_hide_it_anywhere_in_a_file(pack) -> None:
    assert found(NOISE + pack(b'{"name":"' + NAME.value.encode() + b'"}') + NOISE) == {NAME}


def test_a_truncated_gzip_stream_is_searched_as_far_as_it_goes() -> None:
    whole = gzip.compress(NAME.value.encode() + NOISE, compresslevel=1)
    assert found(whole[:-12]) == {NAME}


@pytest.mark.parametrize("written", ["20260214", "2026-02-14", "14.02.2026", "14/02/2026", '"20260214"', "d=20260214;"])
def test_a_date_is_found_in_the_usual_ways_of_writing_it(written: str) -> None:
    assert found(f"x {written} y".encode()) == {DATE}


@pytest.mark.parametrize("written", ["0.20260214", "9202602141", "a20260214f", "20260214.5"])
def test_a_date_inside_a_longer_number_or_hash_is_chance(written: str) -> None:
    assert found(f"x {written} y".encode()) == set()


def test_a_uid_is_found_as_the_uuid_that_it_is() -> None:
    uuid = UUID(int=int(UID.value.removeprefix("2.25.")))
    for content in (str(uuid).encode(), uuid.hex.upper().encode(), uuid.bytes):
        assert found(NOISE + content) == {UID}


def test_stored_pixels_are_found() -> None:
    assert found(NOISE + bytes.fromhex(PIXELS.value) + NOISE) == {PIXELS}


@given(st.binary(max_size=3000), st.integers(0, 40))
def test_a_plain_identifier_is_found_at_any_place(noise: bytes, cut: int) -> None:
    assert NUMBER in found(noise[:cut] + b" " + NUMBER.value.encode() + b" " + noise[cut:], NUMBER)


def test_nothing_is_found_where_nothing_was_planted() -> None:
    assert found(NOISE * 20) == set()


def test_a_planted_identifier_is_found_in_a_database_that_splits_it_over_pages(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "registry.db")
    connection.execute("PRAGMA page_size=512")
    connection.execute("CREATE TABLE note (text TEXT)")
    padding = "x" * 490
    for shift in range(40):
        connection.execute("INSERT INTO note VALUES (?)", (padding[shift:] + NAME.value + padding,))
    connection.commit()
    connection.close()
    hits = searched(tmp_path).hits
    assert {hit.value for hit in hits} == {NAME.value}
    assert any("#note" in hit.where for hit in hits)


def test_a_planted_identifier_is_found_in_a_write_ahead_log(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "superlink.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE note (text TEXT)")
    connection.execute("INSERT INTO note VALUES (?)", (NUMBER.value,))
    connection.commit()
    assert any(hit.where.startswith("superlink.db-wal") for hit in searched(tmp_path).hits)
    connection.close()


def test_a_planted_identifier_is_found_in_a_witness_file_and_in_a_zip(tmp_path: Path) -> None:
    (tmp_path / "witness").mkdir()
    (tmp_path / "witness" / "0001.bin").write_bytes(b"\x00\x12" + gzip.compress(UID.value.encode()) + b"\xff")
    with zipfile.ZipFile(tmp_path / "bundle.fab", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", "seen by " + ACCENTED.value)
    assert {(hit.where.split("!")[0], hit.kind) for hit in searched(tmp_path).hits} >= {
        ("witness/0001.bin", Kind.UID),
        ("bundle.fab", Kind.NAME),
    }


def test_a_planted_identifier_is_found_in_a_file_name(tmp_path: Path) -> None:
    (tmp_path / f"{NUMBER.value}.json").write_text("{}")
    assert [hit.kind for hit in searched(tmp_path).hits] == [Kind.NUMBER]


def test_a_clean_centre_gives_no_hit_and_says_how_much_was_searched(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(NOISE)
    outcome = searched(tmp_path)
    assert (outcome.hits, outcome.files, outcome.identifiers) == ((), 1, len(EVERY))
    assert outcome.searched_bytes >= len(NOISE)
