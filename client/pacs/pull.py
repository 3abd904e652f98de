"""Fetches studies from the PACS by rule, or by hand: QIDO-RS to find them, WADO-RS to bring them, the node's own intake to keep them.

Every instance is noted after the intake has it, so a puller that is killed repeats at most one instance; the intake knows that one.
"""

import hashlib
import json
import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from client.deidentify.pseudonyms import Pseudonyms
from client.gate.backoff import Backoff
from client.logs import fault_of
from client.pacs.multipart import PartSpool
from client.pacs.peer import Peer
from client.pacs.pulled import Pulled
from client.pacs.query import (
    MOST_PAGES,
    PAGE,
    SERIES_FIELDS,
    FoundSeries,
    FoundStudy,
    is_uid,
    series_in,
    studies_in,
    study_search,
    uid_in,
    wants,
)
from client.pacs.taking import Take, named
from client.sections import PullRule
from client.store.files import alone_in, free_mb
from client.store.records import InstanceKeys
from protocol.codes import Code
from protocol.errors import FederationError, InvalidInputError, RefusedError, UnavailableError

_GIVE_UP_AFTER = 3
"""So many studies in a row that the PACS does not answer for, and the rest of the round is left for the next."""

_ALL = frozenset({Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.PEER_UNTRUSTED, Code.DISK_FULL, Code.MISSING_CERTIFICATE})
"""What is wrong with the node or its settings, not with one study."""

Wanted = Callable[[FoundStudy, FoundSeries], bool]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """What one round brought."""

    studies: int = 0
    instances: int = 0
    postponed: int = 0
    code: str | None = None
    """Why the round ended early."""


class Puller:
    """Fetches into one store."""

    def __init__(  # noqa: PLR0913 - all of it is handed in by the composition root
        self,
        peer: Callable[[], Peer],
        pulled: Pulled,
        take: Take,
        pseudonyms: Pseudonyms,
        *,
        folder: Path,
        minimum_free_mb: int,
        today: Callable[[], date],
        expect: Callable[[str, str, int], None] = lambda _study, _series, _instances: None,
        known_as: Callable[[InstanceKeys], InstanceKeys] = lambda keys: keys,
        is_held: Callable[[tuple[str, ...]], bool] = lambda _: True,
        is_deleted: Callable[[tuple[str, ...]], bool] = lambda _: False,
    ) -> None:
        """Prepare the puller.

        Args:
            peer: Opens the PACS.
            pulled: The cursor.
            take: The intake's.
            pseudonyms: The site's.
            folder: Where instances are spooled; this puller's own.
            minimum_free_mb: Below this nothing is fetched.
            today: The site's own date.
            expect: Is told (study key, series key, instances) before a series comes, so that nobody measures half of it.
            known_as: Returns the names under which the node knows what has these: after a rotation of the key, those of before.
            is_held: Whether the node has a study, by its names under every key of the site.
            is_deleted: Whether it was deleted and must not come back, by the same names.
        """
        self._open_peer, self._pulled, self._take, self._pseudonyms = peer, pulled, take, pseudonyms
        self._folder, self._minimum_free_mb, self._today = folder, minimum_free_mb, today
        self._expect, self._known_as = expect, known_as
        self._is_held, self._is_deleted = is_held, is_deleted

    def run(
        self, rules: tuple[PullRule, ...], *, poll_seconds: float, most_studies: int, stop: threading.Event
    ) -> None:
        """Look into the PACS every `poll_seconds` until `stop` is set; less often while it does not answer."""
        backoff, failures = Backoff(first=poll_seconds, ceiling=max(poll_seconds, 1800.0)), 0
        while not stop.is_set():
            done = self._round_safely(rules, most_studies, stop)
            failures = failures + 1 if done.code else 0
            wait = backoff.delay(failures, random.random()) if failures else poll_seconds  # noqa: S311 - jitter
            stop.wait(max(wait, poll_seconds / 2))

    def by_rule(self, rules: tuple[PullRule, ...], most_studies: int, stop: threading.Event | None = None) -> Round:
        """Fetch what the rules want and is not here yet, `most_studies` studies at most.

        A study that cannot be fetched is postponed, and the next one is tried.

        Raises:
            FederationError: What keeps every study from coming; the round is noted with its code.
        """
        today, digest = self._today(), _digest(rules)

        def wanted(study: FoundStudy, series: FoundSeries) -> bool:
            return any(wants(rule, study, series, today) for rule in rules)

        done = Round()
        try:
            with self._alone(), self._open_peer() as peer:
                due = self._due(peer, rules, digest, today)
                self._fetch_all(peer, due, wanted, digest, most_studies=most_studies, done=done, stop=stop)
        except FederationError as error:
            done.code = error.code.value
            raise
        finally:
            self._pulled.note_poll(done.code)
            log.info(
                "pull.round", extra={"studies": done.studies, "instances": done.instances, "postponed": done.postponed}
            )
        return done

    def by_uid(self, uids: Iterable[str]) -> Round:
        """Fetch every CT series of the studies with these UIDs, whatever the rules say; one that was deleted and admitted again comes anew.

        Raises:
            InvalidInputError: `bad-request` if one is no UID; `not-found` if the PACS has no CT under one.
            RefusedError: `study-deleted` if one was deleted here and not admitted again; then none is fetched.
            FederationError: If the PACS does not give it.
        """
        studies = [FoundStudy(uid.strip(), None, "", None) for uid in uids]
        if not studies or not all(is_uid(study.uid) for study in studies):
            raise InvalidInputError(Code.BAD_REQUEST, "Give Study Instance UIDs: digits and dots, one a line.")
        if any(self._is_deleted(self._pseudonyms.study_keys(study.uid)) for study in studies):
            raise RefusedError(
                Code.STUDY_DELETED,
                "A study under one of these UIDs was deleted here; `acinus-node study readmit` lets it come again.",
            )
        done = Round()
        with self._alone(), self._open_peer() as peer:
            for study in studies:
                anew = not self._is_held(self._pseudonyms.study_keys(study.uid))
                if not self._fetch(peer, study, lambda _study, series: series.modality == "CT", done, anew=anew):
                    raise InvalidInputError(Code.NOT_FOUND, "The PACS has no CT series under one of these UIDs.")
                self._pulled.fetched_by_hand(self._key(study))
                done.studies += 1
        return done

    def _round_safely(self, rules: tuple[PullRule, ...], most_studies: int, stop: threading.Event) -> Round:
        try:
            return self.by_rule(rules, most_studies, stop)
        except FederationError as error:
            log.error("pull.failed", extra={"code": error.code.value})  # noqa: TRY400 - the code says it
            return Round(code=error.code.value)
        except Exception as error:  # noqa: BLE001 - the rim of the thread: a traceback could quote a header
            log.error("pull.fault", extra=fault_of(error))  # noqa: TRY400
            return Round(code=Code.NODE_FAULT.value)

    def _due(self, peer: Peer, rules: tuple[PullRule, ...], digest: str, today: date) -> Iterator[FoundStudy]:
        """Yield each study that the rules may want and that is new, has grown or is due for another try."""
        looked_at: set[str] = set()
        for rule in rules:
            for page in range(MOST_PAGES):
                items = peer.search("studies", study_search(rule, today, offset=page * PAGE))
                fresh = [study for study in studies_in(items) if study.uid not in looked_at]
                looked_at.update(study.uid for study in fresh)
                for study in fresh:
                    if not self._pulled.is_settled(self._key(study), study.instances, digest):
                        yield study
                if len(items) < PAGE or not fresh:  # some archives know no offset and repeat themselves
                    break

    def _fetch_all(  # noqa: PLR0913 - one loop, kept in one piece
        self,
        peer: Peer,
        due: Iterator[FoundStudy],
        wanted: Wanted,
        digest: str,
        *,
        most_studies: int,
        done: Round,
        stop: threading.Event | None,
    ) -> None:
        unanswered = 0
        for study in due:
            if done.studies >= most_studies or (stop is not None and stop.is_set()):
                return
            try:
                if self._fetch(peer, study, wanted, done):
                    done.studies += 1
            except FederationError as error:
                if error.code in _ALL:
                    raise
                unanswered = unanswered + 1 if error.code is Code.PEER_UNREACHABLE else 0
                self._postpone(study, digest, error.code)
                done.postponed += 1
                if unanswered >= _GIVE_UP_AFTER:
                    raise
                continue
            unanswered = 0
            self._pulled.complete(self._key(study), study.instances, digest)

    def _postpone(self, study: FoundStudy, digest: str, code: Code) -> None:
        chance = random.random()  # noqa: S311 - jitter, no secret
        self._pulled.postpone(self._key(study), study.instances, digest, code=code.value, chance=chance)
        log.warning("pull.postponed", extra={"study": self._key(study), "code": code.value})

    def _fetch(self, peer: Peer, study: FoundStudy, wanted: Wanted, done: Round, *, anew: bool = False) -> bool:
        """Fetch what is missing of a study, or `anew` all of it; return whether any series of it is wanted."""
        series = [
            one
            for one in series_in(peer.search(f"studies/{study.uid}/series", SERIES_FIELDS))
            if wanted(study, one)
        ]  # fmt: skip
        before = done.instances
        for one in series:
            self._fetch_series(peer, study, one, done, anew=anew)
        if done.instances > before:
            log.info("pull.fetched", extra={"study": self._key(study), "instances": done.instances - before})
        return bool(series)

    def _fetch_series(self, peer: Peer, study: FoundStudy, series: FoundSeries, done: Round, *, anew: bool) -> None:
        """Fetch a series as a whole when nothing of it is here, else each missing instance.

        One by one, what broke off goes on where it broke off.

        Raises:
            UnavailableError: `peer-garbled` if the PACS lists instances that it does not send.
        """
        path = f"studies/{study.uid}/series/{series.uid}"
        listed = [uid for item in peer.search(f"{path}/instances") if (uid := uid_in(item, "00080018")) is not None]
        if anew:
            self._pulled.forget(name for uid in listed for name in self._instance_keys(uid))
        missing = self._missing(listed)
        if missing:
            names = self._known_as(self._keys(study_uid=study.uid, series_uid=series.uid))
            self._expect(names.study_key, names.series_key, len(listed))
        if missing and len(missing) == len(listed):
            self._require_space()
            peer.retrieve(path, lambda boundary: self._spool(boundary, done))
            missing = self._missing(listed)
            if len(missing) == len(listed):
                raise UnavailableError(Code.PEER_GARBLED, "The PACS lists instances and sends others, or none.")
        for uid in missing:
            self._require_space()
            peer.retrieve(f"{path}/instances/{uid}", lambda boundary, uid=uid: self._spool(boundary, done, asked=uid))  # type: ignore[misc] # a default argument, bound at once
        if self._missing(listed):
            raise UnavailableError(Code.PEER_GARBLED, "The PACS lists instances that it does not send.")

    def _missing(self, listed: list[str]) -> list[str]:
        return [uid for uid in listed if not self._pulled.has(self._instance_keys(uid))]

    def _spool(self, boundary: bytes, done: Round, asked: str | None = None) -> PartSpool:
        """Return the spool for one answer.

        Args:
            boundary: Between its parts.
            done: Counts what is taken.
            asked: The instance that was asked for; an unreadable answer counts as this one, or it would be asked for for ever.
        """

        def keep(spooled: Path) -> None:
            names = named(spooled)
            code = self._take(spooled).code
            uid = names.instance if names is not None else asked
            if uid is not None:
                self._pulled.note(self._instance_keys(uid)[0], None if code is None else code.value)
            done.instances += 1

        return PartSpool(boundary, self._folder, keep)

    def _require_space(self) -> None:
        if free_mb(self._folder) < self._minimum_free_mb:
            raise UnavailableError(Code.DISK_FULL, "The node is out of space. Free some; pulling goes on by itself.")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no two pullers fetch at once, and sweep what a killed one left half-received; the lock dies with its holder."""
        with alone_in(self._folder, ".lock"):
            for left in self._folder.glob("*.dcm"):
                left.unlink(missing_ok=True)
            yield

    def _key(self, study: FoundStudy) -> str:
        """Return the name under which the cursor knows a study: a rotated key must not fetch everything anew."""
        return self._pulled.noted(self._pseudonyms.study_keys(study.uid))

    def _instance_keys(self, uid: str) -> tuple[str, ...]:
        """Return an instance's names under every key of the site, newest first."""
        keys = self._keys(instance_uid=uid)
        return keys.instance_key, *(older.instance_key for older in keys.older)

    def _keys(self, *, study_uid: str = "", series_uid: str = "", instance_uid: str = "") -> InstanceKeys:
        return self._pseudonyms.instance_keys(
            study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid, patient_id=""
        )


def _digest(rules: tuple[PullRule, ...]) -> str:
    """Return what tells these rules from others, without their dates: a day more or less must not fetch all anew."""
    said = [rule.model_dump(exclude={"days"}) for rule in rules]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
