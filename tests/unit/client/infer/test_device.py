"""Which device is taken: an accelerator where there is one, unless a person says otherwise."""

import pytest
import torch

from client.infer.quantify import torch_device
from protocol.codes import Code
from protocol.errors import InvalidInputError
from tests.fakes.devices import needs_gpu


@pytest.mark.parametrize(
    ("wanted", "there", "taken"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_the_one_wanted_or_the_best_there_is(
    monkeypatch: pytest.MonkeyPatch, wanted: str, there: bool, taken: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert torch_device(wanted) == taken


@pytest.mark.parametrize(("wanted", "word"), [("cuda", "no CUDA device"), ("tpu", "no such device")])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, wanted: str, word: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match=word) as refused:
        torch_device(wanted)
    assert refused.value.code is Code.BAD_SETTING


@pytest.mark.parametrize("wanted", ["auto", pytest.param("cuda", marks=needs_gpu)])
def test_a_tensor_can_live_on_the_device_that_was_taken(wanted: str) -> None:
    assert torch.ones(2, device=torch_device(wanted)).sum().item() == 2.0
