"""What trains, compares and watches releases, and the ledger that it is charged to."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from client.gate.gate import Gate
from client.gate.trust import load_centre
from client.rooms.border import local_now, open_gate, policy_source, utc_now
from client.rooms.imaging import open_shelf, open_store
from client.settings import NodeSettings
from client.store import tables
from client.store.database import connect
from client.store.monitoring import MonitorBook

if TYPE_CHECKING:
    from client.gate.policy import TrainingPolicy
    from client.infer.releases import ReleaseShelf
    from client.ledger.store import BudgetLedger
    from client.store.records import HeldOutCase
    from client.train.cohort import Cohort
    from client.train.evaluation import SiteEvaluator
    from client.train.monitor import Monitor
    from client.train.prospect import Prospect
    from client.train.secure import SecureTrainer
    from client.train.site import SiteTrainer
    from client.train.standing import Releases
    from models.net import GgoNet
    from protocol.plan import RoundOrder


def open_ledger(settings: NodeSettings) -> "BudgetLedger":
    """Return the privacy ledger, with the audit as its witness."""
    from client.gate.charges import ChargeMarks
    from client.ledger.store import SCHEMA, BudgetLedger

    return BudgetLedger(connect(settings.database, SCHEMA), utc_now, ChargeMarks(open_gate(settings).audit))


def foresee(settings: NodeSettings, order: "RoundOrder", training: "TrainingPolicy") -> "Prospect":
    """Return what the run of an order would cost this site, from that round on.

    Raises:
        InvalidInputError: `bad-setting` if the plan's secure summation is not sound.
        RefusedError: `audit-broken`, `too-few-sites`.
    """
    from client.train.prospect import prospect_of

    values = 0 if order.plan.secure_sum is None else _network_size()
    return prospect_of(open_ledger(settings), order, training, values=values)


def _network_size() -> int:
    """Return how many parameters the network has; only the rounding of a secure sum depends on it, and torch takes seconds to load."""
    from models.net import GgoNet

    return sum(parameter.numel() for parameter in GgoNet().parameters())


def open_trainer(settings: NodeSettings, gate_: Gate) -> "SiteTrainer":
    """Return what answers orders to train."""
    from client.infer.quantify import torch_device
    from client.train import agreed, kept, shown
    from client.train.cohort import Cohort
    from client.train.site import SiteTrainer
    from models.weights import load_arrays

    shelf, device = open_shelf(settings), torch_device(settings.compute.device)
    return SiteTrainer(
        site=load_centre(settings.trust).site,
        policy=policy_source(settings),
        gate=gate_,
        ledger=open_ledger(settings),
        kept=kept.KeptUpdates(connect(settings.database, kept.SCHEMA), settings.updates),
        agreed=agreed.AgreedPlans(connect(settings.database, agreed.SCHEMA)),
        shown=shown.ShownWeights(connect(settings.database, shown.SCHEMA)),
        cases=open_store(settings).labels.training_cases,
        cohort=Cohort(settings.prepared, lru_cache(maxsize=2)(shelf.net), device),
        base=lambda name: load_arrays(shelf.weights(name)),
        now=local_now,
        device=device,
    )


def open_evaluator(settings: NodeSettings, trainer: "SiteTrainer") -> "SiteEvaluator":
    """Return what compares candidates with the present release, on the trainer's gate, ledger and prepared studies."""
    from client.train import answers
    from client.train.evaluation import SiteEvaluator

    return SiteEvaluator(
        site=trainer.site,
        policy=trainer.policy,
        gate=trainer.gate,
        ledger=trainer.ledger,
        kept=answers.KeptAnswers(connect(settings.database, answers.SCHEMA)),
        agreed=trainer.agreed,
        shown=trainer.shown,
        cases=open_store(settings).labels.held_out_cases,
        cohort=trainer.cohort,
        release=trainer.base,
        now=trainer.now,
        device=trainer.device,
    )


def open_secure_trainer(settings: NodeSettings, trainer: "SiteTrainer") -> "SecureTrainer":
    """Return what takes part in secure summations."""
    from cryptography import x509

    from client.gate.trust import load_identity
    from client.train import begun
    from client.train.peers import Peers, signer_of
    from client.train.secure import SecureTrainer

    policy = policy_source(settings)

    def peers() -> Peers:
        authority = x509.load_pem_x509_certificate(load_identity(settings.trust, settings.keys).ca)
        return Peers(authority, utc_now, frozenset(policy().training.secure_sum_peers))

    return SecureTrainer(
        trainer=trainer,
        begun=begun.BegunRounds(connect(settings.database, begun.SCHEMA)),
        signer=lambda: signer_of(trainer.site, load_identity(settings.trust, settings.keys)),
        peers=peers,
    )


def open_monitor(settings: NodeSettings, gate_: Gate) -> "Monitor":
    """Return what watches the release in use."""
    from client.train.monitor import Monitor

    shelf = open_shelf(settings)
    return Monitor(
        book=open_monitor_book(settings),
        releases=lambda: releases_of(shelf),
        cases=open_store(settings).labels.held_out_cases,
        score=_scorer(settings),
        policy=policy_source(settings),
        submit=gate_.submit,
    )


def releases_of(shelf: "ReleaseShelf") -> "Releases":
    """Return which release was taken last, which is in use and which stands behind it."""
    from client.train.standing import Releases

    return Releases(shelf.current(), *shelf.usable())


def _scorer(settings: NodeSettings) -> "Callable[[str, HeldOutCase], float]":
    @lru_cache(maxsize=1)
    def tools() -> "tuple[Cohort, str]":
        from client.infer.quantify import torch_device
        from client.train.cohort import Cohort

        device = torch_device(settings.compute.device)
        return Cohort(settings.prepared, network, device), device

    @lru_cache(maxsize=2)
    def network(release: str) -> "GgoNet":
        return open_shelf(settings).net(release)

    def score(release: str, case: "HeldOutCase") -> float:
        from models.overlap import smoothed_dice

        cohort, device = tools()
        (patient,) = cohort.patients([case.case])
        return smoothed_dice(network(release), patient.studies[0], device=device)

    return score


def open_monitor_book(settings: NodeSettings) -> MonitorBook:
    """Return what the node keeps of its releases."""
    return MonitorBook(connect(settings.database, tables.SCHEMA), time.time)
