"""What staff say of a study that DICOM does not carry, and the deletion of a study on request."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import Response

from client.console import rim
from protocol.codes import Code
from protocol.errors import InvalidInputError
from protocol.shape import OpaqueId

StudyKey = Annotated[OpaqueId, Path()]
Word = Annotated[str, Form(max_length=20)]

router = APIRouter()


@router.post("/studies/{study_key}/context")
async def say(  # noqa: PLR0913 - a form's fields are its parameters
    request: Request,
    study_key: StudyKey,
    *,
    pcr: Word = "",
    pcr_date: Word = "",
    care_setting: Word = "",
    sex: Word = "",
    age: Word = "",
    clinical_question: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Take the word of a person about a study. The audit says who spoke of which study, and nothing of what was said."""
    ward = rim.ward_of(request)
    ward.store.study(study_key)
    row = {
        "pcr": pcr, "pcr_date": pcr_date, "care_setting": care_setting, "sex": sex, "age": age,
        "clinical_question": clinical_question,
    }  # fmt: skip
    said = {column: text.strip() for column, text in row.items() if text.strip()}
    if not ward.say(study_key, said):
        raise InvalidInputError(Code.BAD_REQUEST, "Nothing was said. Go back and fill in a field.")
    ward.note("context.said", rim.visitor_of(request), study_key)
    return rim.go_to(f"/studies/{study_key}")


@router.post("/studies/{study_key}/delete")
async def delete(
    request: Request,
    study_key: StudyKey,
    *,
    sure: Annotated[bool, Form()] = False,
    patient: Annotated[bool, Form()] = False,
) -> Response:
    """Delete a study, or all of its patient, for good. There is no way back, so it is asked for twice."""
    ward = rim.ward_of(request)
    if not sure:
        raise InvalidInputError(Code.BAD_REQUEST, "A deletion cannot be taken back. Go back and tick the box first.")
    ward.store.study(study_key)
    for gone in await asyncio.to_thread(ward.delete, study_key, patient):
        ward.note("study.deleted", rim.visitor_of(request), gone)
    return rim.go_to("/studies")
