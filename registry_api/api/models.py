"""Route by which the federation side publishes a promoted model release."""

from collections.abc import Iterator
from typing import Annotated, BinaryIO

from fastapi import APIRouter, File, Form, UploadFile
from pydantic import BaseModel, ValidationError

from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.release import MetadataFiles, SignedManifest
from protocol.shape import ReleaseName
from protocol.standing import Standing
from registry_api.api.access import Caller, RuntimeDep, SessionDep, require
from registry_api.people.roles import Role
from registry_api.promoted.lists import take_lists
from registry_api.promoted.service import publish
from registry_api.promoted.shelf import CHUNK_BYTES
from registry_api.promoted.standings import standings

router = APIRouter(prefix="/v1")


class Published(BaseModel):
    """What was published, and which sites were told."""

    name: ReleaseName
    sites: list[str]


@router.post("/models", status_code=201)
def create_model(
    runtime: RuntimeDep,
    session: SessionDep,
    manifest: Annotated[str, Form()],
    weights: Annotated[UploadFile, File()],
    _: Annotated[Caller, require(Role.SERVICE)],
) -> Published:
    """Publish a release: `manifest` is the canonical JSON of a SignedManifest, `weights` the file that it names by hash."""
    try:
        signed = SignedManifest.model_validate_json(manifest)
    except ValidationError as error:
        raise InvalidInputError(Code.BAD_SHAPE, "The manifest is no SignedManifest of protocol/release.py.") from error
    told = publish(session, signed, _chunks(weights.file), shelf=runtime.shelf, now=runtime.clock())
    return Published(name=signed.manifest.name, sites=told)


@router.put("/models/lists", status_code=204)
def replace_lists(
    files: MetadataFiles, runtime: RuntimeDep, session: SessionDep, _: Annotated[Caller, require(Role.SERVICE)]
) -> None:
    """Take the signed lists of the releases that count, for nodes to ask for over the link."""
    take_lists(session, files, first_root=runtime.release_root)


@router.get("/models/standings")
def read_standings(
    session: SessionDep, _: Annotated[Caller, require(Role.SERVICE)]
) -> dict[ReleaseName, dict[Standing, int]]:
    """Return for each release how many active sites say of it that it is steady, to be watched, or worse."""
    return standings(session)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
