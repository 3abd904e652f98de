"""Measures a scan: reads it, runs the models, and gives the answer of `docs/reference/quantify.md`. No network, no enrolment."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.infer.flags import merged
from client.infer.model import Model
from client.infer.scan import Scan, read_scan
from protocol.codes import Code
from protocol.errors import InvalidInputError

if TYPE_CHECKING:  # torch takes seconds to import; a refused file never needs it
    from models.measure import Measurement

Document = dict[str, Any]

_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """A measured scan. `document` is what `quantify --json` prints."""

    scan: Scan
    measurement: "Measurement"
    document: Document


def quantify_path(path: Path, model: Callable[[], Model], *, allow_gaps: bool = False, device: str = "auto") -> Result:
    """Measure what lies at `path`.

    Args:
        path: A DICOM file, folder or zip, or a NIfTI volume.
        model: Loads the network; called only once the scan has been read.
        allow_gaps: Bridge missing slices and flag it.
        device: auto, cpu or cuda.

    Raises:
        InvalidInputError: With the codes of `docs/reference/quantify.md`.
    """
    began = time.perf_counter()
    scan = read_scan(path, allow_gaps=allow_gaps)
    read = time.perf_counter() - began
    return measure_scan(scan, model, device=device, seconds={"read": read})


def measure_scan(
    scan: Scan,
    model: Callable[[], Model],
    *,
    device: str = "auto",
    threads: int = 0,
    seconds: dict[str, float] | None = None,
) -> Result:
    """Measure a scan that has been read.

    Args:
        scan: The scan.
        model: Loads the network.
        device: auto, cpu or cuda.
        threads: CPU threads; 0 leaves it to torch.
        seconds: What was spent so far, by stage.

    Raises:
        InvalidInputError: `not-hu`, `no-lung`.
    """
    began = time.perf_counter()
    _wait_politely()
    from models.measure import measure

    loaded = model()
    if threads:
        import torch

        torch.set_num_threads(threads)
    load = time.perf_counter() - began
    measurement = measure(scan.volume, loaded.net, device=torch_device(device))
    spent = {**(seconds or {}), "load": load, **measurement.seconds}
    return Result(scan, measurement, as_document(scan, measurement, loaded.release, spent))


def as_document(scan: Scan, measurement: "Measurement", release: str, seconds: dict[str, float]) -> Document:
    """Return the answer as JSON-ready values."""
    numbers = measurement.numbers
    severity = measurement.severity
    return {
        "ok": True,
        **_rounded(asdict(numbers.whole)),
        "per_lung": {name: _rounded(asdict(share)) for name, share in numbers.per_lung.items()},
        "per_third": {name: _rounded(asdict(share)) for name, share in numbers.per_third.items()},
        "per_zone": {
            lung: {name: _rounded(asdict(share)) for name, share in zones.items()}
            for lung, zones in numbers.per_zone.items()
        },
        "opacity_interval": [round(end, _DIGITS) for end in measurement.opacity_interval],
        "severity": {"score": severity.score, "scale": severity.scale, "band": severity.band.value},
        "model_release": release,
        "quality": [flag.value for flag in merged(scan.flags, measurement.flags)],
        "series": scan.series,
        "seconds": {
            **{name: round(value, 3) for name, value in seconds.items()},
            "total": round(sum(seconds.values()), 3),
        },
    }


def torch_device(wanted: str) -> str:
    """Return the device to run on: `auto` takes an accelerator where there is one.

    Raises:
        InvalidInputError: `bad-setting` if cuda is asked for and absent, or for another word.
    """
    if wanted not in {"auto", "cpu", "cuda"}:
        raise InvalidInputError(Code.BAD_SETTING, "There is no such device. Choose auto, cpu or cuda.")
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InvalidInputError(Code.BAD_SETTING, "There is no CUDA device. Set [compute] device to auto or cpu.")
    return "cpu"


def _wait_politely() -> None:
    """Let idle OpenMP threads sleep. They spin by default, and on a machine with other work that made a scan take ten times as long.

    Read when torch is first imported, so it comes before.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _rounded(share: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 1 if key.endswith("_ml") else _DIGITS) for key, value in share.items()}
