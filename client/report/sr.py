"""The measurement report: DICOM SR after template TID 1500 (PS3.16), one group for both lungs and one for each side."""

import warnings
from collections.abc import Sequence
from typing import Any

import highdicom
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from client.report.concepts import (
    BANNER,
    CONSOLIDATION,
    CT_OF_CHEST,
    GROUND_GLASS,
    LEFT,
    LUNG,
    MANUFACTURER,
    MILLILITRE,
    MODEL,
    OPACITY,
    PERCENT,
    PRIVATE_SCHEME,
    QUALITY,
    RIGHT,
    SCORE,
    SEVERITY,
    VOLUME,
)
from client.report.sources import completed

_SERIES_NUMBER = 9002
_SIDES: tuple[tuple[str, Code | None], ...] = (("right", RIGHT), ("left", LEFT))

Document = dict[str, Any]
"""The answer of `docs/reference/quantify.md`."""


def make_report(
    headers: Sequence[Dataset],
    segmentation: Dataset,
    document: Document,
    *,
    software: str,
    previous: Dataset | None = None,
) -> ComprehensiveSR:
    """Return an SR object that refers to the measured slices and to their segmentation.

    A later version of a report names the one that it takes the place of (Predecessor Documents Sequence, PS3.3 C.17.2), and its
    instance number is one higher, as the segmentation's.

    Args:
        headers: As in `make_segmentation`.
        segmentation: What `make_segmentation` returned.
        document: The measurement.
        software: Version of this program.
        previous: The last report of this study that went to the PACS, if any.
    """
    release = str(document["model_release"])
    groups = [_group("Both lungs", None, document, release, _severity(document, release), _flags(document))]
    groups += [_group(f"{name} lung", side, document["per_lung"][name], release) for name, side in _SIDES]
    report = MeasurementReport(
        observation_context=_observer(software),
        procedure_reported=CT_OF_CHEST,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ComprehensiveSR(
            evidence=[*completed(headers), segmentation],
            content=report[0],
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=int(segmentation.InstanceNumber),
            previous_versions=[previous] if previous is not None else None,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="Acinus: measurement aid, not a diagnosis",
            performed_procedure_codes=[CT_OF_CHEST],
        )


def _observer(software: str) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID(),
        name=f"{MANUFACTURER}: {BANNER}",
        manufacturer_name=MANUFACTURER,
        model_name=f"{MODEL} {software}",
    )
    return ObservationContext(
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    )


def _group(
    title: str,
    side: Code | None,
    share: Document,
    release: str,
    more: Sequence[Measurement] = (),
    flags: Sequence[QualitativeEvaluation] = (),
) -> MeasurementsAndQualitativeEvaluations:
    """Return lung volume and the three shares of one region; the opacity with its uncertainty where that is known."""
    by = _algorithm(release)
    measured = [Measurement(name=VOLUME, value=round(share["lung_volume_ml"], 1), unit=MILLILITRE, algorithm_id=by)]
    for name, key in (
        (GROUND_GLASS, "ggo_fraction"), (CONSOLIDATION, "consolidation_fraction"), (OPACITY, "opacity_fraction")
    ):  # fmt: skip
        around = _uncertainty(share) if name is OPACITY and "opacity_interval" in share else None
        measured.append(
            Measurement(name=name, value=_points(share[key]), unit=PERCENT, algorithm_id=by, properties=around)
        )
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=highdicom.UID(), identifier=title),
        finding_type=OPACITY,
        finding_sites=[FindingSite(anatomic_location=LUNG, laterality=side)],
        measurements=[*measured, *more],
        qualitative_evaluations=[*flags] or None,
    )


def _uncertainty(share: Document) -> MeasurementProperties:
    """Return how far above and below the opacity may lie (TID 310), in points as the opacity itself: highdicom gives the range no unit."""
    low, high = share["opacity_interval"]
    fraction = share["opacity_fraction"]
    found = MeasurementProperties(
        upper_measurement_uncertainty=_points(high - fraction), lower_measurement_uncertainty=_points(fraction - low)
    )
    for item in found:
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [CodedConcept.from_code(PERCENT)]
    return found


def _points(fraction: float) -> float:
    return round(100 * fraction, 2)


def _severity(document: Document, release: str) -> list[Measurement]:
    return [
        Measurement(name=SEVERITY, value=document["severity"]["score"], unit=SCORE, algorithm_id=_algorithm(release))
    ]


def _flags(document: Document) -> list[QualitativeEvaluation]:
    """Return the quality flags as coded remarks: no number without them."""
    return [
        QualitativeEvaluation(name=QUALITY, value=CodedConcept(_short(flag), PRIVATE_SCHEME, flag.replace("-", " ")))
        for flag in document["quality"]
    ]


def _short(flag: str) -> str:
    """Return the flag as a code value: at most 16 characters (VR SH)."""
    return flag if len(flag) <= 16 else "-".join(word[:4] for word in flag.split("-"))[:16]  # noqa: PLR2004


def _algorithm(release: str) -> AlgorithmIdentification:
    return AlgorithmIdentification(name="Acinus ground-glass measurement", version=release)
