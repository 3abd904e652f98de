"""A radiologist's final report as a DICOM SR after template TID 2000, Basic Diagnostic Imaging Report (PS3.16)."""

import warnings
from collections.abc import Sequence

import highdicom
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentSequence,
    EnhancedSR,
    NumContentItem,
    PnameContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from client.report.concepts import CT_OF_CHEST, MANUFACTURER
from client.report.read import ReadDocument, Statement
from client.report.sources import completed

_SERIES_NUMBER = 9003
_CONTAINS, _HAS_CONTEXT = RelationshipTypeValues.CONTAINS, RelationshipTypeValues.HAS_OBS_CONTEXT
_REPORT = Code("18748-4", "LN", "Diagnostic imaging report")

_Item = CodeContentItem | ContainerContentItem | NumContentItem | PnameContentItem | TextContentItem


def make_read_report(headers: Sequence[Dataset], document: ReadDocument) -> EnhancedSR:
    """Return an SR object: final, by the reader, of these slices.

    Args:
        headers: Of the slices of the study, without pixels.
        document: The report.
    """
    root = ContainerContentItem(name=_REPORT, template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            PnameContentItem(codes.DCM.PersonObserverName, document.reader, relationship_type=_HAS_CONTEXT),
            _container(codes.DCM.Findings, [_item(one) for one in document.statements]),
            _container(
                codes.DCM.Impressions,
                [TextContentItem(codes.DCM.Impression, document.impression, relationship_type=_CONTAINS)],
            ),
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # highdicom warns about unusual names, and quotes them
        return EnhancedSR(
            evidence=completed(headers),
            content=root,
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=document.version,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=True,
            is_verified=False,
            series_description="Acinus: report of a reader",
            performed_procedure_codes=[CT_OF_CHEST],
        )


def _container(name: Code, items: Sequence[_Item]) -> ContainerContentItem:
    container = ContainerContentItem(name=name, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _item(one: Statement) -> _Item:
    if isinstance(one.value, Code):
        return CodeContentItem(one.name, one.value, relationship_type=_CONTAINS)
    if isinstance(one.value, str):
        return TextContentItem(one.name, one.value, relationship_type=_CONTAINS)
    return NumContentItem(one.name, one.value, one.unit or Code("1", "UCUM", "no units"), relationship_type=_CONTAINS)
