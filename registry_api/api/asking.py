"""What a query string asks of a release, which release that is, and which part of a long answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self
from urllib.parse import urlencode

from fastapi import Depends, Path, Query, Request
from sqlmodel import Session

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.people.roles import Role, Scope
from registry_api.releases.archive import Entry
from registry_api.releases.cube import DIMENSIONS
from registry_api.releases.query import COUNTRY, REGION, WEEK, Question, ask
from registry_api.releases.weeks import monday_of
from registry_api.runtime import Runtime

Asker = Annotated[Caller, require(Role.MINISTRY, Role.COORDINATOR, Role.AUDITOR, scope=Scope.COUNTS)]
NAMES = (WEEK, COUNTRY, REGION, *DIMENSIONS)
PAGE_MOST = 10_000

_PAGING = {"limit", "offset"}
_OWN_PARAMETERS = {
    "counts": {"release", *_PAGING},
    "series": {"release", "weeks", "until", *_PAGING},
    "comparison": {"release", "weeks", *_PAGING},
    "distribution": {"release", *_PAGING},
    "dhis2.json": {"part"},
    "measurereport.json": {"fhir"},
}
"""What a route takes beside the question, by the end of its path."""
_VALUE_MAX = 40


ASKING: dict[str, Any] = {
    "responses": {304: {"description": "The caller has it: `If-None-Match` names its ETag."}},
    "openapi_extra": {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": f"Only these values of {name}; several may be named.",
                "schema": {
                    "type": "array",
                    "items": {"type": "string", **({"enum": list(DIMENSIONS[name])} if name in DIMENSIONS else {})},
                },
            }
            for name in NAMES
        ]
    },
}
"""What the document of the API says of every route that takes a question."""


async def question_of(request: Request, by: Annotated[str, Query(max_length=200)] = "week,region,severity") -> Question:
    """Return the question in the query string: `by` and, for each dimension, the values wanted.

    Raises:
        QuestionError: `too-fine` or `bad-request`.
        InvalidInputError: `bad-request` for a parameter that the route does not take.
    """
    own = _OWN_PARAMETERS.get(request.url.path.rpartition("/")[2], set())
    allowed = ["by", *sorted(own), *NAMES]
    if set(request.query_params.keys()) - set(allowed):
        raise InvalidInputError(Code.BAD_REQUEST, f"There is no such parameter. Allowed: {', '.join(allowed)}.")
    wanted = {name: request.query_params.getlist(name) for name in NAMES}
    if any(len(value) > _VALUE_MAX or not value.isprintable() for values in wanted.values() for value in values):
        raise InvalidInputError(Code.BAD_REQUEST, "A value asked for is longer than any that exists, or no text.")
    return ask([name.strip() for name in by.split(",") if name.strip()], wanted)


QuestionDep = Annotated[Question, Depends(question_of)]
ReleaseNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
ReleaseOrNewest = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, who asks it of which release, and whether they named the release."""

    request: Request
    runtime: Runtime
    session: Session
    caller: Caller
    question: Question
    entry: Entry
    pinned: bool

    @classmethod
    def named(
        cls,
        request: Request,
        runtime: RuntimeDep,
        session: SessionDep,
        caller: Asker,
        question: QuestionDep,
        number: ReleaseNumber,
    ) -> Self:
        """Return what is asked of the release in the address."""
        return cls(request, runtime, session, caller, question, runtime.archive.entry(session, number), pinned=True)

    @classmethod
    def newest(
        cls,
        request: Request,
        runtime: RuntimeDep,
        session: SessionDep,
        caller: Asker,
        question: QuestionDep,
        release: ReleaseOrNewest = None,
    ) -> Self:
        """Return what is asked of the newest release, or of the one that `release` names."""
        entry = runtime.archive.entry(session, release)
        return cls(request, runtime, session, caller, question, entry, pinned=release is not None)


AskedOfNumber = Annotated[Asked, Depends(Asked.named)]
AskedOfNewest = Annotated[Asked, Depends(Asked.newest)]


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list: `limit` items from `offset` on."""

    limit: int
    offset: int

    def part(self, items: Sequence[Any]) -> Sequence[Any]:
        """Return the part of `items`."""
        return items[self.offset : self.offset + self.limit]

    def members(self, items: Sequence[Any], asked: Asked) -> dict[str, Any]:
        """Return what the answer says of the part: `total`, `offset`, and the path of the `next` part, of the same release."""
        end = self.offset + self.limit
        following = None
        if end < len(items):
            pairs = [pair for pair in asked.request.query_params.multi_items() if pair[0] not in {"release", *_PAGING}]
            pairs += [("release", str(asked.entry.number)), ("limit", str(self.limit)), ("offset", str(end))]
            following = f"{asked.request.url.path}?{urlencode(pairs)}"
        return {"total": len(items), "offset": self.offset, "next": following}


async def paging_of(
    limit: Annotated[int, Query(ge=1, le=PAGE_MOST)] = 2000, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
) -> Paging:
    """Return the part that the query string asks for."""
    return Paging(limit, offset)


PagingDep = Annotated[Paging, Depends(paging_of)]


def checked_week(week: str | None) -> str | None:
    """Return an ISO week that exists.

    Raises:
        InvalidInputError: `bad-request`.
    """
    try:
        if week is not None:
            monday_of(week)
    except ValueError as error:
        raise InvalidInputError(Code.BAD_REQUEST, "That week does not exist. Write it like 2026-W08.") from error
    return week
