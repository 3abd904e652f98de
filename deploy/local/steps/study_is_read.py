"""Step 8: one hospital asks for a read; a radiologist of another site claims it, sees the study at the hospital, reports and signs."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from deploy.local.browser import reading_browser
from deploy.local.chromium import find_chromium
from deploy.local.people import invented_word
from deploy.local.planted import Identifier, Kind
from deploy.local.reader import Eyes, Hospital, Program, ReaderKey, Report, gateway_client, json_of
from deploy.local.scene import Node, Scene

_SEED = 8
_LICENCE = "XA"


@dataclass
class Timeline:
    """What happened when, in seconds since the first event."""

    events: list[dict[str, Any]] = field(default_factory=list)
    _first: float | None = None

    def mark(self, what: str, who: str) -> None:
        """Note that something has just happened at the hospital, the centre or the reader."""
        now = time.monotonic()
        self._first = now if self._first is None else self._first
        self.events.append({"seconds": round(now - self._first, 2), "what": what, "who": who})


@dataclass(frozen=True, slots=True)
class Reader:
    """The radiologist as the registry knows them: a client that speaks with their key."""

    reader_id: str
    name: str
    http: httpx.Client

    def state(self, request_id: str) -> str:
        """Return where the centre says the read stands."""
        return str(self.view(request_id)["state"])

    def view(self, request_id: str) -> dict[str, Any]:
        """Return the read as this reader sees it."""
        answer: dict[str, Any] = json_of(self.http.get(f"/v1/reads/{request_id}"))
        return answer

    def offers(self) -> set[str]:
        """Return the reads that this reader may claim."""
        return {str(one["request_id"]) for one in json_of(self.http.get("/v1/reads", params={"eligible": "me"}))}

    def obstacles(self, request_id: str) -> list[str] | None:
        """Return why this reader may not claim a read; None while the centre does not know it."""
        found = {one["request_id"]: one["obstacles"] for one in json_of(self.http.get("/v1/reads"))}
        return found.get(request_id)

    def claim(self, request_id: str) -> dict[str, Any]:
        """Claim a read."""
        answer: dict[str, Any] = json_of(self.http.post(f"/v1/reads/{request_id}/claims"))
        return answer

    def grant(self, claim_id: str, thumbprint: str) -> str:
        """Return a grant for this claim, bound to a key."""
        return str(json_of(self.http.post(f"/v1/claims/{claim_id}/grants", json={"jkt": thumbprint}))["token"])

    def sign(self, claim: dict[str, Any], report_sha256: str) -> None:
        """Sign the report with this hash."""
        headers = {"If-Match": f'"{claim["fence"]}"'}
        json_of(
            self.http.post(
                f"/v1/claims/{claim['claim_id']}:sign", headers=headers, json={"report_sha256": report_sha256}
            )
        )


def play(scene: Scene) -> None:
    """Read one study from the post to the closing.

    Raises:
        StepFailed: If a door opens too early, if the report is not the hospital's alone, or if the read does not close.
    """
    hospital, other = scene.nodes[0], scene.nodes[-1]
    reader = _engage(scene, hospital, other)
    study = scene.most_affected(hospital)
    scene.stage.expect(8)
    timeline = Timeline()
    request_id = str(hospital.command.json("read", "post", study["study"], "--priority", "urgent")["request_id"])
    timeline.mark("posted", "hospital")
    _privilege(scene, hospital, reader, request_id)
    _reach(scene, lambda: request_id in reader.offers(), "the registry offers the read")
    timeline.mark("offered", "centre")
    claim = reader.claim(request_id)
    timeline.mark("claimed", "reader")
    scene.stage.advance()
    report = _report(scene, study)
    with _eyes(scene, hospital) as eyes:
        _open(scene, hospital, reader, eyes, claim, timeline)
        scene.check(
            eyes.look(request_id), "the volume came from the hospital's own gateway with its ground glass laid over it"
        )
        timeline.mark("volume seen", "reader")
        scene.stage.advance()
        report_sha256 = eyes.hand_in(claim["claim_id"], report)
    timeline.mark("report held", "hospital")
    scene.stage.advance()
    _finish(scene, hospital, reader, claim, report_sha256, timeline)
    _check_report(scene, hospital, request_id, report, report_sha256)
    view = _check_centre(scene, request_id, report_sha256)
    scene.facts["read"] = {
        "state": view["state"], "slots": view["slots"], "timeline": timeline.events, "report_sha256": report_sha256,
        "events": [event["event"] for event in view["events"]], "study": study["study"], "model_release": study["model_release"],
    }  # fmt: skip


def _engage(scene: Scene, hospital: Node, other: Node) -> Reader:
    """Add a radiologist of another site at the registry, with a licence and an agreement with the hospital."""
    registry, name = scene.centre.registry, f"Dr Ilse Marrable, {other.hospital.title}"
    office = registry.json("people", "add", "Coordinator", "--role", "coordinator")
    scene.keys["coordinator"] = str(office["api_key"])
    seen = ("--evidence", "XA-GMC:4711", "--until", "2099-12-31", "--verified-by", str(office["id"]))
    added = registry.json("readers", "add", name, "--jurisdiction", _LICENCE, "--language", "en", *seen)
    scene.keys["reader"] = str(added["api_key"])
    reader = Reader(str(added["id"]), name, scene.centre.client(scene.keys["reader"]))
    scene.check(not reader.offers(), "a reader without an agreement is offered nothing")
    registry("agreements", "add", "--site", hospital.site, "--reader", reader.reader_id)
    return reader


def _privilege(scene: Scene, hospital: Node, reader: Reader, request_id: str) -> None:
    """See that the centre's agreement offers nothing yet, then let the hospital grant the privilege."""
    _reach(scene, lambda: reader.obstacles(request_id) is not None, "the read reaches the centre")
    scene.check(
        reader.obstacles(request_id) == ["no-privilege"],
        "an agreement at the centre offers nothing without the hospital's privilege",
    )
    hospital.command("read", "grant-privilege", reader.reader_id, "--name", reader.name)


@contextmanager
def _eyes(scene: Scene, hospital: Node) -> Iterator[Eyes]:
    """Give the reader a browser, or a program where there is none."""
    folder = scene.out / "reader"
    folder.mkdir(exist_ok=True)
    where = Hospital(hospital.gateway, hospital.gateway_ca)
    found = find_chromium()
    if found is None:
        scene.note("Chromium and its driver are not here: a program with a key file reads")
        yield Program(where, ReaderKey(folder / "reader.pem"))
        return
    with reading_browser(found, where, folder) as browser:
        scene.note("a headless Chromium reads")
        yield browser


def _open(scene: Scene, hospital: Node, reader: Reader, eyes: Eyes, claim: dict[str, Any], timeline: Timeline) -> None:
    """Try to look without a session and with a key that nobody approved; then have it approved and open the study."""
    with gateway_client(Hospital(hospital.gateway, hospital.gateway_ca)) as stranger:
        seen = [stranger.get(f"/vol/{claim['request_id']}/{name}").status_code for name in ("ct.nii.gz", "mask.nii.gz")]
    scene.check(set(seen) <= {401, 403, 404}, "without a session the gateway shows nothing of the study")
    refusal = eyes.open(reader.grant(claim["claim_id"], eyes.thumbprint))
    timeline.mark("key refused", "hospital")
    scene.check(
        refusal == "reader-not-approved",
        "a grant of the centre opens nothing for a key that the hospital has not approved",
    )
    scene.stage.advance()
    hospital.command("read", "approve-reader", eyes.thumbprint, "--name", reader.name)
    timeline.mark("key approved", "hospital")
    token = reader.grant(claim["claim_id"], eyes.thumbprint)
    timeline.mark("grant", "centre")
    refusal = eyes.open(token)
    scene.check(
        refusal == "",
        f"the hospital opens the study for the approved key, by a grant of at most ten minutes {refusal}".strip(),
    )
    scene.stage.advance()


def _finish(
    scene: Scene, hospital: Node, reader: Reader, claim: dict[str, Any], report_sha256: str, timeline: Timeline
) -> None:
    """Sign at the centre, wait for the delivery, and take note at the hospital."""
    request_id = claim["request_id"]
    _reach(scene, lambda: reader.state(request_id) == "preliminary", "the receipt of the report reaches the centre")
    reader.sign(claim, report_sha256)
    timeline.mark("signed", "reader")
    _reach(scene, lambda: reader.state(request_id) == "delivered", "the signature reaches the hospital")
    timeline.mark("delivered", "hospital")
    scene.stage.advance()
    hospital.command("read", "report", request_id, "--acknowledge", report_sha256)
    _reach(scene, lambda: reader.state(request_id) == "closed", "the read closes")
    timeline.mark("closed", "centre")
    scene.note("the read is closed: posted, claimed, opened, submitted, signed, delivered, acknowledged")
    scene.stage.advance()


def _reach(scene: Scene, question: Callable[[], bool], what: str) -> None:
    scene.network.until(question, what=what, seconds=60)


def _report(scene: Scene, study: dict[str, Any]) -> Report:
    """Return what the radiologist writes. Its words and the node's key of the study are planted: neither may reach the centre."""
    draw = random.Random(_SEED)  # noqa: S311 - invented words, not secrets
    ward, doctor = invented_word(draw), invented_word(draw)
    impression = (
        f"Ground glass opacities in both lungs, {100 * study['ggo_fraction']:.0f} % of lung as measured; typical appearance. "
        f"Told to ward {ward}, Dr {doctor}, by telephone."
    )
    scene.planted.add(Identifier(Kind.TEXT, text) for text in (impression, ward, doctor, study["study"]))
    zones = {"upper": 1, "middle": 1, "lower": 2}
    return {
        "rsna_class": "typical", "corads": 5, "pcr": "unknown", "critical": False, "zones": {"right": zones, "left": zones},
        "measurement": {"agrees": True}, "impression": impression,
    }  # fmt: skip


def _check_report(scene: Scene, hospital: Node, request_id: str, report: Report, report_sha256: str) -> None:
    """The hospital holds the whole report under its hash."""
    kept = hospital.command.json("read", "report", request_id)["reports"]
    scene.check(
        [(one["report_sha256"], one["impression"], one["status"]) for one in kept]
        == [(report_sha256, report["impression"], "final")],
        f"{hospital.site} holds the report with its text, final, under the hash that was signed",
    )
    scene.check(hospital.command.attempt("audit", "verify")[0] == 0, f"the audit chain of {hospital.site} verifies")


def _check_centre(scene: Scene, request_id: str, report_sha256: str) -> dict[str, Any]:
    """Return all that the coordinator sees of the read: state, hash and codes. No word of the text may be there; step 9 seeks it."""
    with scene.centre.client(scene.keys["coordinator"]) as client:
        view: dict[str, Any] = json_of(client.get(f"/v1/reads/{request_id}"))
    reads = [slot for slot in view["slots"] if slot["purpose"] == "read"]  # a share is drawn for peer review as well
    scene.check(
        [(slot["state"], slot["result"]["report_sha256"], slot["result"]["corads"]) for slot in reads]
        == [("closed", report_sha256, 5)],
        "the centre holds the state of the slot, the hash of the report and its codes",
    )
    return view
