"""How an answer from a release goes out: with a strong ETag that needs no rendering, not at all if the caller has it, kept for the next one."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from fastapi import Request
from fastapi.responses import Response

from registry_api.api.access import Caller
from registry_api.api.asking import Asked
from registry_api.people.readlog import Reading
from registry_api.releases.archive import Entry
from registry_api.releases.query import Question, spelt
from registry_api.runtime import Runtime

FORM = "2"
"""Counted up when the same release is written otherwise than before, so that no caller keeps the old bytes."""

_FRESH_SECONDS = 300
_PINNED_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Ground:
    """What an answer rests on besides its address: who asked, and which release is the newest (None where the question names one)."""

    caller: Caller
    release: int | None

    @property
    def without_release(self) -> Self:
        """The ground of the answers to the same caller's questions that name a release."""
        return replace(self, release=None)


def answer_with(
    asked: Asked,
    render: Callable[[], bytes],
    *,
    extra: Mapping[str, object],
    media_type: str = "application/json",
    name: str | None = None,
) -> Response:
    """Return the answer, or 304 if the caller has it.

    Args:
        asked: The question; its release, the caller's place and the route are part of the tag.
        render: Gives the bytes; called only if they are needed and nobody asked the same before.
        extra: Whatever else the bytes depend on.
        media_type: Of the bytes.
        name: A file name, for a download.
    """
    tag = _tag_of(asked, extra)
    what = asked.request.url.path.rpartition("/")[2]
    asked.request.state.reading = note_reading(
        asked.runtime, asked.caller, what=what, release=asked.entry.number, question=spelt(asked.question)
    )
    asked.request.state.ground = Ground(asked.caller, None if asked.pinned else asked.entry.number)
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": f"private, max-age={_PINNED_SECONDS}, immutable" if asked.pinned else f"private, max-age={_FRESH_SECONDS}",
        "Vary": "Authorization, Cookie",
    }  # fmt: skip
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    if has(asked.request, tag):
        return Response(status_code=304, headers=headers)
    body = asked.runtime.kept.get(tag, render)
    return Response(body, media_type=media_type, headers=headers)


def note_reading(runtime: Runtime, caller: Caller, *, what: str, release: int, question: str = "") -> Reading:
    """Write down who reads what, so that hospitals can see it; what cannot be written down is not answered.

    Raises:
        UnavailableError: `database-unreachable` or `disk-full`.
    """
    return runtime.read_log.note(caller.person_id, what=what, release=release, question=question)


def _tag_of(asked: Asked, extra: Mapping[str, object]) -> str:
    """Return a hash of everything that the bytes are made from: of the release its own hash, of the caller the place they may see."""
    route = getattr(asked.request.scope.get("route"), "path", asked.request.url.path)
    said = [FORM, asked.entry.number, asked.entry.sha256, asked.entry.signature, route, asked.caller.region]
    parts = [*said, canonical(asked.question), sorted((name, str(value)) for name, value in extra.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def canonical(question: Question) -> list[object]:
    """Return the question in one spelling, however it was written."""
    wanted = sorted((name, sorted(values)) for name, values in question.wanted.items())
    return [question.regional, list(question.dimensions), wanted]


def has(request: Request, tag: str) -> bool:
    """Say whether the caller has the answer of that tag (RFC 9110 section 13.1.2: compared weakly, `*` is any)."""
    sent = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")]
    return f'"{tag}"' in sent or sent == ["*"]


@dataclass(frozen=True, slots=True)
class Written:
    """A part of an answer that is JSON already."""

    text: str


def as_bytes(content: dict[str, Any]) -> bytes:
    """Return compact JSON; a member that is `Written` goes in as it is, behind the others."""
    written = {name: part.text for name, part in content.items() if isinstance(part, Written)}
    others = {name: part for name, part in content.items() if name not in written}
    members = [json.dumps(others, separators=(",", ":"))[1:-1], *(f'"{name}":{text}' for name, text in written.items())]
    return f"{{{','.join(members)}}}".encode()


def summary(entry: Entry) -> dict[str, Any]:
    """Return what every answer says of its release."""
    return {
        "release": entry.number,
        "built_at": entry.built_at.isoformat(timespec="seconds"),
        "sha256": entry.sha256,
        "signature": entry.signature,
    }
