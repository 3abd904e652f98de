"""The node's rooms, opened from its settings: stores, ledgers, shelves, books. It alone builds connections.

Each call opens a connection of its own: SQLite's may not be shared between threads.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from client.gate import contact, gate, inbox, renewals
from client.gate.audit import HEAD_FILE
from client.gate.certificate import renewal_time
from client.gate.contact import ContactBook
from client.gate.gate import Gate
from client.gate.inbox import Inbox
from client.gate.keys import load_certificate
from client.gate.policy import SitePolicy
from client.gate.policy_file import load_policy
from client.gate.renewals import RenewalBook
from client.gate.trust import CERTIFICATE, is_enrolled, load_centre
from client.parts import is_running, parts_of, read_parts
from client.settings import NodeSettings
from client.store import tables
from client.store.context import ContextStore
from client.store.database import connect
from client.store.monitoring import MonitorBook
from client.store.studies import StudyStore
from protocol.codes import Code
from protocol.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from client.context.desk import ContextDesk
    from client.deidentify.pseudonyms import Pseudonyms
    from client.deidentify.ring import KeyRing
    from client.gate.ssh import Ends
    from client.gateway.book import Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.reports import Reports
    from client.gateway.sessions import Sessions
    from client.infer.drawn import MaskDesk
    from client.infer.releases import ReleaseShelf
    from client.infer.surroundings import Surroundings
    from client.ledger.store import BudgetLedger
    from client.pacs.outgoing import Outgoing
    from client.pacs.pull import Puller
    from client.pacs.pulled import Pulled
    from client.pacs.send import Sender
    from client.store.records import HeldOutCase
    from client.store.removal import Remover
    from client.store.retention import Housekeeper
    from client.train.cohort import Cohort
    from client.train.evaluation import SiteEvaluator
    from client.train.monitor import Monitor
    from client.train.secure import SecureTrainer
    from client.train.site import SiteTrainer
    from models.net import GgoNet


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def local_now() -> datetime:
    """Return the site's own time; opening hours are local."""
    return datetime.now().astimezone()


def open_store(settings: NodeSettings) -> StudyStore:
    """Return the store of studies."""
    return StudyStore(connect(settings.database, tables.SCHEMA), settings)


def open_pseudonyms(settings: NodeSettings) -> "Pseudonyms":
    """Return the site's pseudonyms.

    Raises:
        UnavailableError: `missing-certificate` if the key file is absent, damaged or older than the database.
    """
    return open_key_ring(settings).load()


def open_key_ring(settings: NodeSettings) -> "KeyRing":
    """Return the site's pseudonym keys over time."""
    from client.deidentify.pseudonyms import KEY_FILE
    from client.deidentify.ring import KeyRing

    return KeyRing(settings.keys / KEY_FILE, connect(settings.database, tables.SCHEMA))


def open_remover(settings: NodeSettings) -> "Remover":
    """Return what deletes studies on request."""
    from client.gateway.erase import forget_reports, is_under_way
    from client.store.removal import Others, Remover

    book, outgoing = open_reads(settings)[0], open_outgoing(settings)

    def forget(study_key: str) -> None:
        forget_reports(book.connection, study_key)
        outgoing.forget(study_key)

    others = Others(under_way=lambda study_key: is_under_way(book, study_key), forget=forget)
    return Remover(connect(settings.database, tables.SCHEMA), settings, others)


def open_housekeeper(settings: NodeSettings) -> "Housekeeper":
    """Return what the worker does when it has nothing to measure."""
    from client.gateway.erase import is_under_way
    from client.store.retention import Housekeeper, Retention

    book = open_reads(settings)[0]
    retention = Retention(
        connect(settings.database, tables.SCHEMA), settings, lambda study_key: is_under_way(book, study_key)
    )
    return Housekeeper(open_remover(settings), retention)


def open_mask_desk(settings: NodeSettings) -> "MaskDesk":
    """Return what makes labels of masks that came by the node's doors."""
    from client.infer.drawn import MaskDesk

    return MaskDesk(open_store(settings), open_pseudonyms(settings))


def open_context(settings: NodeSettings) -> ContextStore:
    """Return what is said of studies and patients."""
    return ContextStore(connect(settings.database, tables.SCHEMA))


def open_surroundings(settings: NodeSettings) -> "Surroundings":
    """Return what lays it beside the studies."""
    from client.infer.context import Window
    from client.infer.surroundings import Surroundings

    window = Window(before=settings.context.pcr_days_before, after=settings.context.pcr_days_after)
    return Surroundings(open_context(settings), open_pseudonyms(settings), window)


def open_context_desk(settings: NodeSettings) -> "ContextDesk":
    """Return what takes messages, files and words of the staff."""
    from client.context.desk import ContextDesk
    from client.context.messages import Dialect
    from client.context.statement import Namer
    from client.context.values import Vocabulary

    said = settings.context
    words = Vocabulary(
        pcr_codes=frozenset(said.pcr_codes),
        positive=frozenset(said.positive_words),
        negative=frozenset(said.negative_words),
        intensive_units=frozenset(said.intensive_units),
    )
    return ContextDesk(
        open_context(settings),
        Namer(open_pseudonyms(settings), frozenset(said.own_issuers)),
        Dialect(words, said.accession_fields, said.keep_question),
    )


def open_outgoing(settings: NodeSettings) -> "Outgoing":
    """Return the findings on their way to the PACS."""
    from client.pacs.outgoing import SCHEMA, Outgoing

    return Outgoing(connect(settings.database, SCHEMA), settings.outgoing, time.time)


def open_pulled(settings: NodeSettings) -> "Pulled":
    """Return what was fetched from the PACS."""
    from client.pacs.pulled import SCHEMA, Pulled

    return Pulled(connect(settings.database, SCHEMA), time.time)


def open_sender(settings: NodeSettings) -> "Sender":
    """Return what sends findings to the PACS."""
    from client.pacs.lines import open_line
    from client.pacs.send import Sender

    return Sender(open_store(settings), open_outgoing(settings), lambda: open_line(settings), settings.pacs.objects)


def open_puller(settings: NodeSettings) -> "Puller":
    """Return what fetches studies from the PACS into the store."""
    from client.pacs.peer import Peer
    from client.pacs.pull import Puller
    from client.receive.intake import Intake

    store, pseudonyms = open_store(settings), open_pseudonyms(settings)
    return Puller(
        lambda: Peer(settings.pacs, settings.home),
        open_pulled(settings),
        Intake(store, pseudonyms).take,
        pseudonyms,
        folder=settings.instances.parent / "pulled",
        minimum_free_mb=settings.dicom.minimum_free_mb,
        today=lambda: local_now().date(),
        expect=lambda study, series, instances: store.arrivals.expect(study, instances, series_key=series),
        known_as=store.known_as,
        is_held=store.holds,
        is_deleted=lambda study_keys: any(store.is_deleted(key) for key in study_keys),
    )


def certificate_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how long the node's certificate is good and how its renewal goes, for `status`; `None` if it cannot be read."""
    try:
        certificate = load_certificate(settings.trust / CERTIFICATE)
    except UnavailableError:
        return None
    last, until, due = open_renewals(settings).last(), certificate.not_valid_after_utc, renewal_time(certificate)
    return {
        "until": _stamp(until),
        "days": max(0, (until - utc_now()).days),
        "renewal": _stamp(due),
        "tried": _stamp(last.tried) if last else None,
        "code": last.code if last and last.tried >= due else None,  # an earlier one was of another certificate
    }


def pacs_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how the exchange with the PACS is, for `status`; `None` where none is set up."""
    if not settings.pull.rules and settings.pacs.send == "off":
        return None
    outgoing = open_outgoing(settings)
    return {
        "send": settings.pacs.send,
        "findings": outgoing.counts(),
        "stuck": [
            {"study_key": one.study_key, "object": one.object, "attempts": one.attempts, "code": one.code}
            for one in outgoing.stuck()
        ],
        "pull": asdict(open_pulled(settings).state()) if settings.pull.rules else None,
    }


def open_gate(settings: NodeSettings) -> Gate:
    """Return the gate, and with it the audit chain and the outbox."""
    return Gate(connect(settings.database, gate.SCHEMA), policy_source(settings), utc_now, settings.home / HEAD_FILE)


def open_inbox(settings: NodeSettings) -> Inbox:
    """Return what the centre told the node."""
    return Inbox(connect(settings.database, inbox.SCHEMA), utc_now)


def open_contact(settings: NodeSettings) -> ContactBook:
    """Return what is known of the link."""
    return ContactBook(connect(settings.database, contact.SCHEMA), utc_now)


def open_renewals(settings: NodeSettings) -> RenewalBook:
    """Return how the renewal of the certificate goes."""
    return RenewalBook(connect(settings.database, renewals.SCHEMA), utc_now)


def open_ledger(settings: NodeSettings) -> "BudgetLedger":
    """Return the privacy ledger."""
    from client.ledger.store import SCHEMA, BudgetLedger

    return BudgetLedger(connect(settings.database, SCHEMA), utc_now)


def open_shelf(settings: NodeSettings) -> "ReleaseShelf":
    """Return the model releases on this node."""
    from client.gate.lists import ReleaseList
    from client.infer.releases import ReleaseShelf

    return ReleaseShelf(settings.models, ReleaseList(settings.trust).holds)


def open_trainer(settings: NodeSettings, gate_: Gate) -> "SiteTrainer":
    """Return what answers orders to train."""
    from client.infer.quantify import torch_device
    from client.train import kept
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
        cases=open_store(settings).labels.held_out_cases,
        cohort=trainer.cohort,
        release=trainer.base,
        now=trainer.now,
        device=trainer.device,
    )


def open_monitor(settings: NodeSettings, gate_: Gate) -> "Monitor":
    """Return what watches the release in use."""
    from client.train.monitor import Monitor

    shelf = open_shelf(settings)
    return Monitor(
        book=open_monitor_book(settings),
        releases=lambda: (shelf.current(), shelf.previous()),
        cases=open_store(settings).labels.held_out_cases,
        score=_scorer(settings),
        policy=policy_source(settings),
        submit=gate_.submit,
    )


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


def release_state(settings: NodeSettings) -> dict[str, Any]:
    """Return how the release in use does here, for `status` and the console; none of it but the word may leave."""
    from client.train.look import figures_of

    shelf, book = open_shelf(settings), open_monitor_book(settings)
    cases = open_store(settings).labels.held_out_cases()
    try:
        policy = load_policy(settings.policy)
    except InvalidInputError:  # `doctor` says what is wrong with it
        policy = SitePolicy()
    found = figures_of(book, (shelf.current(), shelf.previous()), cases, policy)
    told = book.told()
    return {
        **asdict(found),
        "drifts": [{**asdict(one), "changed": one.changed} for one in found.drifts],
        "told": told.standing if told is not None and told.release == found.release else None,
    }


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


def tunnel_ends(settings: NodeSettings) -> "Ends":
    """Return both ends of the tunnel to the relay.

    Raises:
        UnavailableError: `missing-certificate` if enrolment pinned no relay, or the key of the tunnel is missing.
    """
    from client.gate.keys import tunnel_public
    from client.gate.ssh import Ends

    pin = load_centre(settings.trust).relay
    if pin is None:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            "The centre named no relay when this node enrolled. Ask the coordinator whether there is one, and enrol anew.",
        )
    tunnel_public(settings.keys)
    host = "127.0.0.1" if settings.gateway.host in {"0.0.0.0", "::"} else settings.gateway.host  # noqa: S104 - read, not listened on
    return Ends(relay=settings.relay.address, pin=pin, gateway=f"{host}:{settings.gateway.port}", keys=settings.keys)


def is_impersonated(settings: NodeSettings) -> bool:
    """Say whether readers who come by the relay were last shown another key than the gateway's; never without a relay."""
    from client.gate.outside import Seen
    from client.gate.tunnel import TunnelBook

    return bool(settings.relay.address) and TunnelBook(settings.home, utc_now).read().seen is Seen.ANOTHER


def tunnel_state(settings: NodeSettings) -> dict[str, Any] | None:
    """Return how the tunnel to the relay is, for `status`; `None` where none is set up."""
    from client.gate.tunnel import TunnelBook

    if not settings.relay.address:
        return None
    state = TunnelBook(settings.home, utc_now).read()
    return {
        "relay": settings.relay.address,
        "connected": state.connected and is_running(settings.home),
        "since": state.since,
        "code": state.code,
        "seen": state.seen,
        "looked": state.looked,
    }


def policy_source(settings: NodeSettings) -> Callable[[], SitePolicy]:
    """Return a function that reads the site's policy anew each time."""
    return lambda: load_policy(settings.policy)


def open_reads(settings: NodeSettings) -> "tuple[Book, ReaderKeys, Sessions, Reports]":
    """Return the tables of the reading exchange, on one connection."""
    from client.gateway.book import SCHEMA, Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.reports import Reports
    from client.gateway.sessions import Sessions

    book = Book(connect(settings.database, SCHEMA), utc_now)
    keys = ReaderKeys(book.connection, utc_now)
    sessions = Sessions(book, keys, open_contact(settings).last_heard, lambda: is_impersonated(settings))
    return book, keys, sessions, Reports(book, open_gate(settings))


def status_of(settings: NodeSettings) -> dict[str, Any]:
    """Return what `acinus-node status --json` prints; works while the node runs and while it does not."""
    enrolled = is_enrolled(settings.trust)
    outbox = open_gate(settings).outbox
    link = open_contact(settings).read()
    running = is_running(settings.home)
    return {
        "ok": True,
        "name": settings.site.name,
        "site": load_centre(settings.trust).site if enrolled else None,
        "enrolled": enrolled,
        "running": running,
        "parts": {name: part.state for name, part in read_parts(settings.home, parts_of(settings)).items()},
        "studies": open_store(settings).counts(),
        "context": open_context(settings).counts(),
        "outbox": outbox.counts()["waiting"],
        "parked": [{"kind": parked.kind, "code": parked.code} for parked in outbox.parked()],
        "link": {
            "connected": link.connected and running,
            "heard": _stamp(link.heard) if link.heard else None,
        },
        "certificate": certificate_state(settings) if enrolled else None,
        "model_release": open_shelf(settings).current(),
        "release": release_state(settings),
        "pacs": pacs_state(settings),
        "tunnel": tunnel_state(settings),
    }


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
