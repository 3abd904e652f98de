"""What the viewer's worker makes of a volume as its bytes come: slabs for the graphics card, the volume itself, or a reason."""

import base64
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver

from tests.fakes.gateway import write_volume
from tests.integration.gateway.conftest import LiveGateway

pytestmark = pytest.mark.e2e

HEADER_BYTES = 352
SHAPE = (5, 1024, 1024)
"""Slices of 2 MB on the card, of which two make a slab."""

# Gives the worker a packed volume in pieces and returns what it said of it, bytes in base64.
FEED = """
const [packed, done] = arguments;
const text = (buffer) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(new Blob([buffer]));
});
const worker = new Worker("/static/unpack.js");
const heard = [];
worker.onmessage = async ({ data }) => {
  heard.push(data);
  if (!data.whole && !data.error) return;
  for (const one of heard) for (const name of ["texels", "whole"]) if (one[name]) one[name] = await text(one[name]);
  done(heard);
};
worker.onerror = (fault) => done([{ fault: fault.message }]);
const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
for (let from = 0; from < bytes.length; from += 5000) worker.postMessage({ id: 7, chunk: bytes.slice(from, from + 5000) });
worker.postMessage({ id: 7, end: true });
"""


@pytest.fixture
def page(live: LiveGateway, browser: webdriver.Chrome) -> webdriver.Chrome:
    browser.get(f"{live.origin}/reader")
    return browser


def fed(page: webdriver.Chrome, packed: bytes) -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = page.execute_async_script(FEED, base64.b64encode(packed).decode())
    return heard


def packed_volume(folder: Path, values: NDArray[Any]) -> bytes:
    write_volume(folder / "volume.nii.gz", values)
    return (folder / "volume.nii.gz").read_bytes()


def on_the_card(heard: list[dict[str, Any]], dtype: str) -> dict[int, NDArray[Any]]:
    """Return the slabs by their first slice, checking that each has its count."""
    slabs = {one["from"]: np.frombuffer(base64.b64decode(one["texels"]), dtype) for one in heard if "texels" in one}
    for one in heard:
        if "texels" in one:
            assert slabs[one["from"]].nbytes == 2 * one["count"] * SHAPE[1] * SHAPE[2]
    return slabs


def test_hounsfield_units_reach_the_card_as_half_floats(page: webdriver.Chrome, tmp_path: Path) -> None:
    hu = (np.arange(np.prod(SHAPE), dtype=np.int64) % 65536 - 32768).astype(np.int16).reshape(SHAPE)
    packed = packed_volume(tmp_path, hu)
    heard = fed(page, packed)
    assert heard[0] == {"id": 7, "head": {"width": 1024, "height": 1024, "slices": 5, "labels": False}}
    slabs = on_the_card(heard, "<f2")
    assert list(slabs) == [0, 2, 4]
    seen = np.concatenate(list(slabs.values())).astype(np.float64).reshape(SHAPE)
    apart = np.abs(seen - hu)
    assert apart[np.abs(hu.astype(np.int64)) <= 2048].max() == 0
    assert apart.max() == 8, "half of the last step at the end of the range"
    assert base64.b64decode(heard[-1]["whole"]) == gzip.decompress(packed)


def test_labels_reach_the_card_as_shares_and_slabs_without_any_do_not(page: webdriver.Chrome, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 100:200, 300:500] = 1
    mask[4, 7, 9] = 2
    heard = fed(page, packed_volume(tmp_path, mask))
    assert heard[0]["head"]["labels"] is True
    slabs = on_the_card(heard, "u1")
    assert list(slabs) == [2, 4]
    seen = np.concatenate(list(slabs.values())).reshape(3, *SHAPE[1:], 2)
    assert np.array_equal(seen[..., 0], np.where(mask[2:] == 1, 255, 0))
    assert np.array_equal(seen[..., 1], np.where(mask[2:] == 2, 255, 0))


@pytest.mark.parametrize("cut", [HEADER_BYTES - 2, HEADER_BYTES + 3])
def test_a_volume_that_is_cut_off_is_not_taken_for_whole(page: webdriver.Chrome, tmp_path: Path, cut: int) -> None:
    whole = gzip.decompress(packed_volume(tmp_path, np.zeros((4, 8, 8), np.int16)))
    heard = fed(page, gzip.compress(whole[:cut]))
    assert heard[-1] == {"id": 7, "error": "The volume did not arrive whole."}


def test_bytes_that_are_not_packed_are_refused(page: webdriver.Chrome) -> None:
    assert fed(page, b"no gzip at all")[-1].keys() == {"id", "error"}
