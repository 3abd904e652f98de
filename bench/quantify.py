"""How long a measurement takes: 300 uncompressed slices of 512 x 512, from files on the disk to the result.

A phantom, written as a CT series. In the process: reading, then each stage of the measurement, median of the rounds. The whole command:
`acinus-node quantify`, a new process each time, with its peak memory. Every core that there is may be used.

The network alone, on the slabs of this scan: `shipped` is `models.infer.probabilities`, beside eager float32 in both layouts, one slab
or eight at a time; the best of those four is the peer. `gemm_share` is what the shipped runtime reaches of the machine's own bfloat16 matrix product
(3072 x 3072 x 3072), by counted multiplications and additions of the convolutions. A processor without bfloat16 arithmetic
(AVX-512 BF16 or AMX) computes such a product more slowly than in float32: the page says which it was.

Goals: `seconds_300_slices` ≤ 3, `seconds_cold` ≤ 6, `peak_gib` ≤ 2, `runtime_vs_eager` ≥ 1.8, `gemm_share` ≥ 0.6; Dice of opacity moves by at most 0.005.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from torch import Tensor, nn

from bench.table import Goal, Table, in_turns, main, median_ratio
from client.infer.scan import Scan, read_scan
from models.grid import to_slabs
from models.infer import probabilities
from models.lungs import find_lungs
from models.measure import measure as measure_volume
from models.net import GgoNet
from models.phantom import PROFILES, make_phantom
from models.prepare import prepare, with_neighbours
from models.slabs import lung_grid
from models.weights import STARTING, load_net

SLICES, EDGE = 300, 512
GEMM_EDGE = 3072
_WATCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
GOALS = {
    "seconds_300_slices": Goal(3.0),
    "seconds_cold": Goal(6.0),
    "peak_gib": Goal(2.0),
    "runtime_vs_eager": Goal(1.8, at_most=False),
    "gemm_share": Goal(0.6, at_most=False),
    "dice_change": Goal(0.005),
}


def measure(quick: bool) -> Table:
    """Write the series, time everything."""
    table = Table(goals=GOALS)
    rounds = 1 if quick else 7
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder))
        net = load_net(STARTING)
        scan = _stages(table, Path(folder), net, rounds=rounds)
        _command(table, Path(folder), rounds=1 if quick else 3)
    _network(table, scan, net, rounds=rounds)
    return table


def write_series(folder: Path) -> None:
    """Write a phantom as 300 uncompressed files."""
    spacing_mm = (1.0, 0.7, 0.7)
    made = make_phantom(
        5, profile=PROFILES["siemens-b31f"], disease=0.2, shape=(100, 256, 256), spacing_mm=(3.0, 1.4, 1.4)
    )
    hu = made.volume.hu.repeat(3, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    noise = np.random.default_rng(0).normal(0, 12, hu.shape)
    stored = np.clip(hu + noise, -1024, 3071).astype(np.int16)
    study, series, frame = (generate_uid() for _ in range(3))
    for z, plane in enumerate(stored):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.PatientID, one.ImageType, one.ConvolutionKernel = (
            "CT",
            "bench",
            ["ORIGINAL", "PRIMARY", "AXIAL"],
            "B31f",
        )
        one.SliceThickness, one.InstanceNumber, one.SeriesNumber = spacing_mm[0], z + 1, 1
        one.ImagePositionPatient, one.ImageOrientationPatient = (
            [-179.2, -179.2, -300 + z * spacing_mm[0]],
            [1, 0, 0, 0, 1, 0],
        )
        one.PixelSpacing, one.Rows, one.Columns = list(spacing_mm[1:]), EDGE, EDGE
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.RescaleIntercept, one.RescaleSlope, one.RescaleType = 0, 1, "HU"
        one.PixelData = plane.tobytes()
        one.save_as(folder / f"{z:03d}.dcm", enforce_file_format=True)


def _stages(table: Table, folder: Path, net: GgoNet, *, rounds: int) -> Scan:
    laps = [_once(folder, net) for _ in range(rounds + 1)][1:]  # the first warms up
    for stage in laps[0]:
        table.add("in the process", stage, median(lap[stage] for lap in laps), "s")
    table.ratios["seconds_300_slices"] = median(lap["total"] for lap in laps)
    return read_scan(folder)


def _once(folder: Path, net: GgoNet) -> dict[str, float]:
    """Return the seconds of each stage of one measurement."""
    began = time.perf_counter()
    scan = read_scan(folder)
    read = time.perf_counter() - began
    stages = measure_volume(scan.volume, net).seconds
    print("measured once", file=sys.stderr)
    return {"read": read, **stages, "total": time.perf_counter() - began}


def _command(table: Table, folder: Path, *, rounds: int) -> None:
    command = [sys.executable, "-m", "client.cli", "quantify", str(folder), "--json"]
    spent = [watched(command) for _ in range(rounds)]
    table.ratios["seconds_cold"] = median(seconds for seconds, _ in spent)
    table.ratios["peak_gib"] = max(peak for _, peak in spent)


def watched(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds, and the most memory in GiB that it or a child of it held at once.

    A small process of its own starts it: Linux counts what the starting process held as the command's, until that runs its own program.
    """
    answer = subprocess.run([sys.executable, "-c", _WATCH, *command], check=True, capture_output=True, text=True).stdout
    seconds, kib = answer.split()
    return float(seconds), float(kib) / (1 << 20)


def _network(table: Table, scan: Scan, net: GgoNet, *, rounds: int) -> None:
    grid = lung_grid(find_lungs(scan.volume) > 0, scan.volume)
    inputs = with_neighbours(prepare(to_slabs(scan.volume, grid)))
    cases: dict[str, Callable[[], Tensor]] = {"shipped": lambda: probabilities(net, inputs)}
    for layout, memory in (("NCHW", torch.contiguous_format), ("channels-last", torch.channels_last)):
        for batch in (1, 8):
            cases[f"eager float32, {layout}, batch {batch}"] = _eager(inputs, memory, batch)
    seconds = in_turns(cases, rounds=rounds)
    for name, spent in seconds.items():
        table.add(name, "per slab", 1000 * median(spent) / len(inputs), "ms")
    best = min((name for name in seconds if name != "shipped"), key=lambda name: median(seconds[name]))
    table.ratios["runtime_vs_eager"] = median_ratio(seconds[best], seconds["shipped"])
    table.remarks.append(f"best eager: {best}; {len(inputs)} slabs of {inputs.shape[-2]} x {inputs.shape[-1]} pixels")
    one, other = (cases[name]()[:, 0] < 0.5 for name in ("shipped", best))
    table.ratios["dice_change"] = 1.0 - 2.0 * float((one & other).sum()) / max(1.0, float(one.sum() + other.sum()))
    rate = flops(net, inputs[:1]) * len(inputs) / median(seconds["shipped"])
    peaks = {str(kind).removeprefix("torch."): _gemm_rate(kind) for kind in (torch.bfloat16, torch.float32)}
    for kind, peak in peaks.items():
        table.add(f"matrix product, {kind}", "rate", peak / 1e9, "GFLOP/s")
    table.add("shipped", "rate", rate / 1e9, "GFLOP/s")
    table.ratios["gemm_share"] = rate / peaks["bfloat16"]
    table.ratios["gemm_share_float32"] = rate / peaks["float32"]
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    able = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    table.remarks.append(f"bfloat16 arithmetic of this processor: {', '.join(able) or 'none'}")


def _eager(inputs: Tensor, memory: torch.memory_format, batch: int) -> Callable[[], Tensor]:
    net = load_net(STARTING).eval().to(memory_format=memory)  # type: ignore[call-overload] # torch's stub lacks memory_format for modules

    def run() -> Tensor:
        with torch.inference_mode():
            parts = [net(part.contiguous(memory_format=memory)).softmax(dim=1) for part in torch.split(inputs, batch)]
        return torch.cat(parts)

    return run


def flops(net: GgoNet, one: Tensor) -> float:
    """Return multiplications and additions of all convolutions for one slab."""
    counted = 0.0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d):
            counted += 2.0 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    hooks = [module.register_forward_hook(count) for module in net.modules()]
    with torch.inference_mode():
        net(one)
    for hook in hooks:
        hook.remove()
    return counted


def _gemm_rate(kind: torch.dtype) -> float:
    one = torch.randn(GEMM_EDGE, GEMM_EDGE).to(kind)
    spent = []
    for _ in range(4):
        began = time.perf_counter()
        torch.mm(one, one)
        spent.append(time.perf_counter() - began)
    return 2.0 * GEMM_EDGE**3 / min(spent)


if __name__ == "__main__":
    main("quantify", __doc__ or "", measure)
