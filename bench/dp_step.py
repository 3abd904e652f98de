"""What a private step costs: patient-level DP-SGD against training without privacy, on the shipped network.

One process, all cases in turns, median of the rounds' ratios. 4 patients of 8 slices, 112 x 160 pixels, float32, two ways to lay out
memory (NCHW, channels-last). `ours` is `client.train.private.clipped_sum`: one pass for each patient, clipped, added up, noised.

Non-private: `full batch` (32 slices at once) and `accumulation` (patient after patient), each in both layouts. Other ways to a
per-patient gradient: Opacus hooks with the slices' gradients averaged by patient before clipping, and `vmap` over patients
(functorch). Opacus's expanded weights and ghost clipping clip the slice, not the patient, so they are timed but give no patient-level
privacy; what does not run on this network is said. Memory is the peak above the start, of a process of its own.

Goals: `time_vs_best_nonprivate` ≤ 1.20, `time_vs_accumulation` ≤ 1.05, `memory_vs_full_batch` ≤ 0.8,
`speedup_vs_best_correct_mode` ≥ 2.
"""

import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from bench.table import Goal, Table, in_turns, main, median_ratio
from client.train.noise import Randomness
from client.train.private import clipped_sum
from models.loss import patient_loss
from models.net import GgoNet
from models.slabs import PatientSlices

PATIENTS, SLICES, HEIGHT, WIDTH = 4, 8, 112, 160
BOUND, SIGMA = 0.5, 1.0
GOALS = {
    "time_vs_best_nonprivate": Goal(1.20),
    "time_vs_accumulation": Goal(1.05),
    "memory_vs_full_batch": Goal(0.8),
    "speedup_vs_best_correct_mode": Goal(2.0, at_most=False),
}

Case = Callable[[], object]


def measure(quick: bool) -> Table:
    """Time every case and weigh the two whose memory is compared."""
    torch.set_num_threads(1)
    cases, refused = _runnable(all_cases())
    seconds = in_turns(cases, rounds=2 if quick else 9)
    table = Table(goals=GOALS)
    for name, spent in seconds.items():
        table.add(name, "median", 1000 * median(spent), "ms per step")
    _compare(table, seconds)
    heavy = {name: peak_mib(name) for name in ("full batch, NCHW", "ours, NCHW")}
    for name, mib in heavy.items():
        table.add(name, "peak above the start", mib, "MiB")
    table.ratios["memory_vs_full_batch"] = heavy["ours, NCHW"] / heavy["full batch, NCHW"]
    table.remarks += [f"{name} does not run on this network: {why}" for name, why in refused.items()]
    return table


def _compare(table: Table, seconds: dict[str, list[float]]) -> None:
    best = {kind: _fastest(seconds, kind) for kind in ("full batch", "accumulation", "ours")}
    fastest = min((best["full batch"], best["accumulation"]), key=lambda name: median(seconds[name]))
    correct = min((name for name in seconds if name.startswith(CORRECT_MODES)), key=lambda name: median(seconds[name]))
    table.ratios["time_vs_best_nonprivate"] = median_ratio(seconds[best["ours"]], seconds[fastest])
    table.ratios["time_vs_accumulation"] = median_ratio(seconds[best["ours"]], seconds[best["accumulation"]])
    table.ratios["speedup_vs_best_correct_mode"] = median_ratio(seconds[correct], seconds[best["ours"]])
    table.remarks.append(f"best non-private: {fastest}; best other way to patient-level privacy: {correct}")


def _fastest(seconds: dict[str, list[float]], kind: str) -> str:
    return min((name for name in seconds if name.startswith(kind)), key=lambda name: median(seconds[name]))


# The cases.

CORRECT_MODES = ("Opacus hooks", "functorch")
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def all_cases() -> dict[str, Case]:
    """Return every case by name, each on a network of its own with the same weights."""
    made: dict[str, Case] = {}
    for layout, memory in LAYOUTS.items():
        patients = batch(memory)
        made[f"full batch, {layout}"] = full_batch(network(memory), patients)
        made[f"accumulation, {layout}"] = accumulation(network(memory), patients)
        made[f"ours, {layout}"] = ours(network(memory), patients)
    patients = batch(torch.contiguous_format)
    made["Opacus hooks, averaged by patient"] = opacus_hooks(network(torch.contiguous_format), patients)
    made["functorch over patients"] = functorch(network(torch.contiguous_format), patients)
    for mode in ("ew", "ghost"):
        made[f"Opacus {mode}, by slice (no patient-level privacy)"] = opacus_slices(mode, patients)
    return made


def network(memory: torch.memory_format) -> GgoNet:
    """Return the opacity network with fixed weights."""
    torch.manual_seed(0)
    return GgoNet().train().to(memory_format=memory)  # type: ignore[call-overload,no-any-return] # torch's stub lacks memory_format for modules


def batch(memory: torch.memory_format) -> list[PatientSlices]:
    """Return four patients, inputs (8, 3, 112, 160)."""
    made = torch.Generator().manual_seed(1)
    shape = (SLICES, HEIGHT, WIDTH)
    return [
        PatientSlices(
            torch.randn(SLICES, 3, HEIGHT, WIDTH, generator=made).contiguous(memory_format=memory),
            torch.randint(0, 3, shape, generator=made),
            torch.ones(shape, dtype=torch.bool),
        )
        for _ in range(PATIENTS)
    ]


def full_batch(net: GgoNet, patients: list[PatientSlices]) -> Case:
    """All slices at once, the mean of the patients' losses."""
    inputs = torch.cat([patient.inputs for patient in patients])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = net(inputs).split(SLICES)
        losses = [patient_loss(own, p.target, p.valid) for own, p in zip(logits, patients, strict=True)]
        (torch.stack(losses).sum() / PATIENTS).backward()  # type: ignore[no-untyped-call] # torch
        optimizer.step()

    return step


def accumulation(net: GgoNet, patients: list[PatientSlices]) -> Case:
    """Patient after patient, gradients added up by autograd."""
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for patient in patients:
            (patient_loss(net(patient.inputs), patient.target, patient.valid) / PATIENTS).backward()  # type: ignore[no-untyped-call] # torch
        optimizer.step()

    return step


def ours(net: GgoNet, patients: list[PatientSlices]) -> Case:
    """The product's own step: clipped by patient, noise from the operating system."""
    parameters = list(net.parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-6)
    randomness = Randomness()

    def step() -> None:
        _noised(parameters, clipped_sum(net, parameters, patients, bound=BOUND), randomness)
        optimizer.step()

    return step


def opacus_hooks(net: GgoNet, patients: list[PatientSlices]) -> Case:
    """Opacus's hooks give a gradient for each slice; averaged by patient they are what `ours` clips."""
    from opacus import GradSampleModule

    wrapped = GradSampleModule(net, loss_reduction="sum")
    inputs = torch.cat([patient.inputs for patient in patients])
    parameters = list(net.parameters())
    optimizer, randomness = torch.optim.SGD(parameters, lr=1e-6), Randomness()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = wrapped(inputs).split(SLICES)
        losses = [patient_loss(own, p.target, p.valid) for own, p in zip(logits, patients, strict=True)]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call] # torch
        by_patient = [p.grad_sample.view(PATIENTS, SLICES, *p.shape).sum(1) for p in parameters]  # type: ignore[attr-defined] # Opacus puts it there
        for parameter in parameters:
            parameter.grad_sample = None  # type: ignore[attr-defined]
        _noised(parameters, _clipped(by_patient), randomness)
        optimizer.step()

    return step


def functorch(net: GgoNet, patients: list[PatientSlices]) -> Case:
    """`vmap` of the gradient over patients."""
    from torch.func import functional_call, grad, vmap

    parameters = dict(net.named_parameters())
    inputs, target, valid = (
        torch.stack([getattr(patient, name) for patient in patients]) for name in ("inputs", "target", "valid")
    )
    optimizer, randomness = torch.optim.SGD(net.parameters(), lr=1e-6), Randomness()

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor, inside: Tensor) -> Tensor:
        return patient_loss(functional_call(net, weights, (x,)), y, inside)

    gradients = vmap(grad(loss), in_dims=(None, 0, 0, 0))

    def step() -> None:
        found = gradients({name: p.detach() for name, p in parameters.items()}, inputs, target, valid)
        _noised(list(parameters.values()), _clipped([found[name] for name in parameters]), randomness)
        optimizer.step()

    return step


def opacus_slices(mode: str, patients: list[PatientSlices]) -> Case:
    """Opacus as it comes: the slice is the sample."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    net = network(torch.contiguous_format)
    inputs, target = (torch.cat([getattr(patient, name) for patient in patients]) for name in ("inputs", "target"))
    loader = DataLoader(TensorDataset(inputs, target), batch_size=len(inputs))
    criterion = nn.CrossEntropyLoss(reduction="mean")
    made = PrivacyEngine().make_private(
        module=net, optimizer=torch.optim.SGD(net.parameters(), lr=1e-6), data_loader=loader, noise_multiplier=SIGMA,
        max_grad_norm=BOUND, criterion=criterion, grad_sample_mode=mode, poisson_sampling=False,
    )  # fmt: skip
    model, optimizer, loss = made[0], made[1], made[2] if mode == "ghost" else criterion

    def step() -> None:
        optimizer.zero_grad()
        loss(model(inputs), target).backward()
        optimizer.step()

    return step


def _clipped(by_patient: list[Tensor]) -> list[Tensor]:
    """Clip and add up gradients that lie side by side, (patients, ...)."""
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in by_patient], dim=1).norm(dim=1)
    factors = (BOUND / (norms + 1e-6)).clamp(max=1.0)
    return [torch.einsum("p,p...->...", factors, g) for g in by_patient]


def _noised(parameters: list[nn.Parameter], total: list[Tensor], randomness: Randomness) -> None:
    for parameter, part in zip(parameters, total, strict=True):
        parameter.grad = (part + randomness.normal(tuple(part.shape), std=SIGMA * BOUND)) / PATIENTS


def _runnable(cases: dict[str, Case]) -> tuple[dict[str, Case], dict[str, str]]:
    """Try each case once; return those that run, and why the others do not."""
    runs: dict[str, Case] = {}
    refused: dict[str, str] = {}
    for name, case in cases.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case()
        except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
            refused[name] = type(error).__name__
        else:
            runs[name] = case
    return runs, refused


# Memory: each case in a process of its own, because a peak never falls.


def peak_mib(name: str) -> float:
    """Return by how many MiB two steps of a case raise the peak of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.dp_step", "--weigh", name], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout)["mib"])


def _weigh(name: str) -> None:
    torch.set_num_threads(1)
    memory = LAYOUTS[name.partition(", ")[2]]
    make = {"full batch": full_batch, "ours": ours}[name.partition(", ")[0]]
    net, patients = network(memory), copy.deepcopy(batch(memory))
    case = make(net, patients)
    net(patients[0].inputs[:1, :, :32, :32]).sum().backward()  # what torch needs once, whatever follows
    before = _peak_kib()
    case()
    case()
    print(json.dumps({"mib": (_peak_kib() - before) / 1024}))


def _peak_kib() -> int:
    """Return the peak of this program's memory. `getrusage` would include that of the process which started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


if __name__ == "__main__":
    if "--weigh" in sys.argv:
        _weigh(sys.argv[-1])
    else:
        main("dp_step", __doc__ or "", measure)
