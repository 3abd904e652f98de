"""What FHIR R4 resources say: Patient, Observation, ServiceRequest, Encounter, in a Bundle, alone, or one a line (NDJSON).

References are followed inside what was sent, never over a network. The elements are listed in docs/reference/context.md.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from client.context.messages import Dialect
from client.context.statement import About, PatientNumber, Statement
from client.context.values import birth_date_of, day_of, moment_of, plain_text, sex_of
from client.deidentify.orders import ACCESSION, FILLER, PLACER, order_number
from client.store.facts import FactKind
from protocol.case import CareSetting, PcrStatus, Sex
from protocol.codes import Code
from protocol.errors import InvalidInputError

Resource = dict[str, Any]

MOST_RESOURCES = 20_000

_KINDS_OF_NUMBER = {"ACSN": ACCESSION, "PLAC": PLACER, "FILL": FILLER}
_PATIENT_NUMBERS = frozenset({"", "MR", "PI", "PT", "U"})
_IMAGING = frozenset({"363679005", "RAD", "RX", "CT", "IMG", "imaging"})
"""Categories of a ServiceRequest for imaging: SNOMED CT, HL7 table 0074, the plain word."""
_FINAL, _GONE = frozenset({"final", "amended", "corrected"}), frozenset({"entered-in-error", "cancelled", "revoked"})


def parse_resources(content: bytes) -> list[Resource]:
    """Return the resources in a Bundle, in a single resource or in lines of them.

    Raises:
        InvalidInputError: `unreadable` if it is not JSON, `bad-request` if it holds no resources or too many. The message quotes nothing.
    """
    try:
        documents = _documents(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            Code.UNREADABLE, "This is neither a JSON document nor one JSON document a line."
        ) from error
    found: list[Resource] = []
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("resourceType"), str):
            raise InvalidInputError(Code.BAD_REQUEST, "This is no FHIR resource: resourceType is missing.")
        if document["resourceType"] == "Bundle":
            found += [
                _with_url(entry) for entry in _list(document.get("entry")) if isinstance(entry.get("resource"), dict)
            ]
        else:
            found.append(document)
    if len(found) > MOST_RESOURCES:
        raise InvalidInputError(Code.BAD_REQUEST, f"There are more than {MOST_RESOURCES} resources. Split them.")
    return found


def statements_of(resources: list[Resource], dialect: Dialect) -> list[Statement]:
    """Return all that resources say and the node can use. What it cannot use is passed over."""
    desk = _Desk(dialect, _by_reference(resources))
    readers = {
        "Patient": desk.patient, "Observation": desk.observation, "ServiceRequest": desk.request, "Encounter": desk.stay,
    }  # fmt: skip
    return [said for one in resources if (read := readers.get(one["resourceType"])) for said in read(one)]


def _documents(content: bytes) -> list[Any]:
    text = content.decode("utf-8-sig")
    try:
        return [json.loads(text)]
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2:  # noqa: PLR2004 - one line that is no JSON is not NDJSON either
            raise
        return [json.loads(line) for line in lines]


def _with_url(entry: Resource) -> Resource:
    resource: Resource = entry["resource"]
    kind = resource.get("resourceType")
    return {**resource, "resourceType": kind if isinstance(kind, str) else "", "_url": _text(entry.get("fullUrl"))}


def _by_reference(resources: list[Resource]) -> dict[str, Resource]:
    known: dict[str, Resource] = {}
    for one in resources:
        if name := _text(one.get("id")):
            known[f"{one['resourceType']}/{name}"] = one
        if url := _text(one.get("_url")):
            known[url] = one
    return known


@dataclass(frozen=True, slots=True)
class _Desk:
    """Reads resources that belong together."""

    dialect: Dialect
    known: dict[str, Resource]

    def patient(self, patient: Resource) -> Iterator[Statement]:
        """Yield sex and day of birth of a patient who has a number."""
        numbers = _numbers_of(patient)
        if not numbers:
            return
        about, slot = About(patients=numbers), (numbers[0].issuer, numbers[0].number)
        sex, born = sex_of(_text(patient.get("gender"))), birth_date_of(_text(patient.get("birthDate")))
        stated_at = _stated_at(patient)
        if sex is not Sex.UNKNOWN:
            yield Statement(kind=FactKind.SEX, value=sex.value, about=about, slot=slot, stated_at=stated_at)
        if born:
            yield Statement(kind=FactKind.BIRTH_DATE, value=born, about=about, slot=slot, stated_at=stated_at)

    def observation(self, result: Resource) -> Iterator[Statement]:
        """Yield a PCR result."""
        status, words = _text(result.get("status")), self.dialect.vocabulary
        patients = self._patients(result)
        if not words.is_pcr(_codes(result.get("code"))) or status not in _FINAL | _GONE or not patients:
            return
        said = [*_words(result.get("valueCodeableConcept")), _text(result.get("valueString"))]
        said += [word for one in _list(result.get("interpretation")) for word in _codes(one)]
        found, day = words.pcr(said), day_of(self._taken(result))
        retracted = status in _GONE or found is PcrStatus.UNKNOWN
        if day is None and not retracted:
            return
        yield Statement(
            kind=FactKind.PCR, value=found.value, about=About(patients=patients), first_day=day, retracted=retracted,
            slot=_slot(result), stated_at=_stated_at(result),
        )  # fmt: skip

    def request(self, request: Resource) -> Iterator[Statement]:
        """Yield the question of an imaging order, and the care setting of the stay that it names."""
        category = [code for one in _list(request.get("category")) for code in _words(one)]
        orders = _orders_of(request)
        if not orders or (category and not _IMAGING & set(category)):
            return
        about = About(patients=self._patients(request), orders=orders)
        gone = _text(request.get("status")) in _GONE
        stay = self._follow(request.get("encounter"))
        setting = self._setting(stay) if stay is not None else CareSetting.UNKNOWN
        asked = _question_of(request) if self.dialect.keep_question else ""
        for kind, value in ((FactKind.CARE_SETTING, setting.value), (FactKind.QUESTION, asked)):
            if gone or value not in {"", CareSetting.UNKNOWN.value}:
                yield Statement(
                    kind=kind, value=value, about=about, slot=orders[:1], retracted=gone, stated_at=_stated_at(request)
                )

    def stay(self, stay: Resource) -> Iterator[Statement]:
        """Yield the care setting of a patient over the days of a stay."""
        patients, status = self._patients(stay), _text(stay.get("status"))
        period = stay.get("period")
        period = period if isinstance(period, dict) else {}
        first, last = day_of(_text(period.get("start"))), day_of(_text(period.get("end")))
        setting, gone = self._setting(stay), status in _GONE
        if not patients or status == "planned" or (not gone and (first is None or setting is CareSetting.UNKNOWN)):
            return
        yield Statement(
            kind=FactKind.CARE_SETTING, value=setting.value, about=About(patients=patients), slot=_slot(stay),
            first_day=first, last_day=last, retracted=gone, stated_at=_stated_at(stay),
        )  # fmt: skip

    def _setting(self, stay: Resource) -> CareSetting:
        kind = stay.get("class")
        units: list[str] = []
        for one in _list(stay.get("location")):
            reference = one.get("location")
            units += [_text(reference.get("display"))] if isinstance(reference, dict) else []
            place = self._follow(reference)
            if place is not None:
                units += [_text(place.get("name"))]
                units += [code for coded in _list(place.get("type")) for code in _codes(coded)]
        code = _text(kind.get("code")) if isinstance(kind, dict) else ""
        return self.dialect.vocabulary.care_setting(code, [unit for unit in units if unit])

    def _taken(self, result: Resource) -> str:
        """Return when a sample was taken: of the specimen, else of the observation."""
        specimen = self._follow(result.get("specimen"))
        collection = specimen.get("collection") if specimen is not None else None
        collected = _text(collection.get("collectedDateTime")) if isinstance(collection, dict) else ""
        period = result.get("effectivePeriod")
        start = _text(period.get("start")) if isinstance(period, dict) else ""
        return collected or _text(result.get("effectiveDateTime")) or _text(result.get("effectiveInstant")) or start

    def _patients(self, resource: Resource) -> tuple[PatientNumber, ...]:
        """Return the numbers of a resource's subject: of the patient that was sent with it, or of the reference itself."""
        subject = resource.get("subject")
        patient = self._follow(subject)
        if patient is not None and patient["resourceType"] == "Patient":
            return _numbers_of(patient)
        identifier = subject.get("identifier") if isinstance(subject, dict) else None
        return _numbers_of({"identifier": [identifier]})

    def _follow(self, reference: object) -> Resource | None:
        return self.known.get(_text(reference.get("reference"))) if isinstance(reference, dict) else None


def _numbers_of(patient: Resource) -> tuple[PatientNumber, ...]:
    found = [
        PatientNumber(_text(one.get("value")), _text(one.get("system")))
        for one in _list(patient.get("identifier"))
        if set(_codes(one.get("type")) or [""]) & _PATIENT_NUMBERS and _text(one.get("use")) != "old"
    ]
    return tuple(dict.fromkeys(one for one in found if one.number))


def _orders_of(request: Resource) -> tuple[str, ...]:
    """Return the order's numbers, placer and filler first, as for HL7 v2."""
    found = [
        order_number(kind, _text(one.get("value")))
        for code, kind in sorted(_KINDS_OF_NUMBER.items(), reverse=True)
        for one in _list(request.get("identifier"))
        if code in _codes(one.get("type"))
    ]
    return tuple(dict.fromkeys(number for number in found if number))


def _question_of(request: Resource) -> str:
    asked = [
        text
        for one in _list(request.get("reasonCode"))
        for text in [_text(one.get("text")) or " ".join(_text(c.get("display")) for c in _list(one.get("coding")))]
    ]
    asked += [_text(one.get("text")) for one in _list(request.get("note"))]
    return plain_text("\n".join(dict.fromkeys(text for text in asked if text)))


def _slot(resource: Resource) -> tuple[str, ...]:
    """Return what its source calls a resource: its first business identifier, else its id."""
    first = next(iter(_list(resource.get("identifier"))), {})
    value = _text(first.get("value"))
    return (resource["resourceType"], _text(first.get("system")), value) if value else (
        resource["resourceType"], _text(resource.get("id")) or _text(resource.get("_url"))
    )  # fmt: skip


def _stated_at(resource: Resource) -> float | None:
    meta = resource.get("meta")
    updated = moment_of(_text(meta.get("lastUpdated"))) if isinstance(meta, dict) else None
    return moment_of(_text(resource.get("issued"))) or updated


def _codes(concept: object) -> list[str]:
    if not isinstance(concept, dict):
        return []
    return [code for one in _list(concept.get("coding")) if (code := _text(one.get("code")))]


def _words(concept: object) -> list[str]:
    """Return codes, displays and text of a coded value."""
    if not isinstance(concept, dict):
        return []
    displays = [_text(one.get("display")) for one in _list(concept.get("coding"))]
    return [word for word in (*_codes(concept), *displays, _text(concept.get("text"))) if word]


def _list(value: object) -> list[Resource]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
