"""The answer set: four patients, two studies each, four makers, five character sets, and identifiers wherever DICOM can hide one.

Texts rotate through every text, code and byte attribute of PS3.6, so that over the whole set each has held a name once. Classic slices,
an enhanced image for each patient, and one file of each kind that must not pass.
"""

from collections.abc import Callable, Iterator
from itertools import count

from pydicom._dicom_dict import DicomDictionary  # all of PS3.6; pydicom has no public name for it
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    SecondaryCaptureImageStorage,
)

from bench.answers.plant import Planted, canary, made_uid
from bench.answers.score import Act, Case

STUDIES, SLICES, SIZE = 2, 3, 8
"""Of each patient, of each study, pixels along an edge."""

_PATIENTS = (
    # number, name, character sets, maker, model, kernel, software
    ("8812345", "Äpfelström^Jörg", ["ISO_IR 100"], "SIEMENS", "SOMATOM Definition AS+", "B31f", "syngo CT 2012B"),
    (
        "MRN-0077123",
        "Yamada^Tarou=山田^太郎",
        ["", "ISO 2022 IR 87"],
        "Canon Medical Systems",
        "Aquilion ONE",
        "FC51",
        "V8.8",
    ),
    ("ЖК-550123", "Люкceмбypг^Ivan", ["ISO_IR 192"], "GE MEDICAL SYSTEMS", "Revolution CT", "STANDARD", "07MW18.4"),
    ("王551199", "Wang^XiaoDong=王^小东", ["GB18030"], "Philips", "Ingenuity Core 128", "YA", "4.1.7"),
)
_PRIVATE = {
    "SIEMENS": ((0x0029, "SIEMENS CSA HEADER"), (0x0019, "SIEMENS CT VA0  COAD")),
    "Canon Medical Systems": ((0x7005, "TOSHIBA_MEC_CT3"), (0x0009, "TOSHIBA_MEC_1.0")),
    "GE MEDICAL SYSTEMS": ((0x0009, "GEMS_IDEN_01"), (0x0043, "GEMS_PARM_01")),
    "Philips": ((0x00E1, "ELSCINT1"), (0x01F1, "ELSCINT1")),
}
_TEXT_VRS = ("LO", "SH", "ST", "LT", "UT", "UC", "UR", "PN", "AE", "OB", "UN", "OW", "CS")
_MEANT = {
    # Retained on purpose, or read by anybody who decides what a file is: nothing is hidden there.
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "FilterType", "RescaleType", "PatientID", "PatientName",
    "BodyPartExamined", "PatientPosition", "ScanOptions", "RotationDirection", "ExposureModulationType", "PatientSex", "SmokingStatus",
    "Modality", "ImageType", "PhotometricInterpretation", "PixelPresentation", "BurnedInAnnotation", "RecognizableVisualFeatures",
    "ConversionType", "SpecificCharacterSet", "LongitudinalTemporalInformationModified", "PatientIdentityRemoved", "AccessionNumber", "StudyID",
    "ReferringPhysicianName", "PixelData", "EncapsulatedDocument", "PatientOrientation", "DeidentificationMethod", "IssuerOfPatientID",
    "DataSetTrailingPadding", "TimezoneOffsetFromUTC", "EthnicGroup", "LossyImageCompression", "LossyImageCompressionMethod",
    "PatientBirthDateInAlternativeCalendar", "OtherPatientIDs",
}  # fmt: skip
HIDING_PLACES = tuple(
    entry[4]
    for tag, entry in sorted(DicomDictionary.items())
    if entry[0] in _TEXT_VRS and entry[4] and entry[4] not in _MEANT and 0x0008 <= tag >> 16 <= 0x7FFF
)
_REFERENCES = {"ReferencedImageSequence", "SourceImageSequence", "AnatomicRegionSequence"}
SEQUENCES = tuple(
    entry[4]
    for tag, entry in sorted(DicomDictionary.items())
    if entry[0] == "SQ" and entry[4] and entry[4] not in _REFERENCES and tag >> 16 >= 0x0008
)
_DATES = (
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate", "PerformedProcedureStepStartDate",
    "ScheduledProcedureStepStartDate", "AdmittingDate", "LastMenstrualDate", "DateOfSecondaryCapture", "StudyVerifiedDate",
)  # fmt: skip
_MOMENTS = (
    "AcquisitionDateTime",
    "PerformedProcedureStepStartDateTime",
    "ScheduledProcedureStepStartDateTime",
    "ContributionDateTime",
)


def answer_set() -> list[Case]:
    """Return every case; always the same ones."""
    turn = count()
    made: list[Case] = []
    for patient in range(len(_PATIENTS)):
        for study in range(STUDIES):
            made += [_slice(patient, study, index, next(turn)).case() for index in range(SLICES)]
        made.append(_enhanced(patient).case())
    return [*made, *_refused()]


def _slice(patient: int, study: int, index: int, turn: int) -> Planted:
    """A classic CT slice that tells everything."""
    planted = _ct(f"p{patient}-s{study}-{index}", patient, study, index, CTImageStorage)
    slices = len(_PATIENTS) * STUDIES * SLICES
    for keyword in HIDING_PLACES[turn::slices]:
        planted.hide(keyword)
    for place, keyword in enumerate(SEQUENCES[turn::slices]):
        _hide_deep(planted, keyword, HIDING_PLACES[(turn + 31 * place) % len(HIDING_PLACES)])
    _refer(planted, patient, study, index)
    for group, creator in _PRIVATE[_PATIENTS[patient][3]]:
        planted.hide_private(group, creator)
    _around(planted)
    return planted


def _ct(name: str, patient: int, study: int, index: int, sop_class: UID) -> Planted:
    """A CT image with everything that must stay, move or be replaced."""
    number, person, character_sets, maker, model, kernel, software = _PATIENTS[patient]
    planted = Planted(name, f"patient {patient}", _empty(sop_class, _instance(patient, study, index)))
    ds = planted.dataset
    ds.SpecificCharacterSet = character_sets
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = person, number, f"19{33 + patient}0105"
    ds.OtherPatientIDs = [f"{number}/B", canary(number)]
    planted.require(Act.PATIENT_CONSISTENT, "PatientID", number)
    for text in (number, *person.replace("=", "^").split("^")[::2], ds.PatientBirthDate, canary(number)):
        planted.require(Act.TEXT_REMOVED, "patient", text)
    for keyword in ("PatientName", "PatientID", "SOPClassUID", "Modality"):
        planted.require(Act.TEXT_NOTNULL, keyword)
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName"):
        planted.hide(keyword)
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientBirthDate"):
        planted.require(Act.TAG_RETAINED, keyword)
    planted.keep(Manufacturer=maker, ManufacturerModelName=model, SoftwareVersions=software)
    _retained(planted, patient, index, kernel)
    for keyword in _DATES:
        planted.date(keyword, f"2025{1 + study:02d}{10 + patient:02d}")
    for keyword in _MOMENTS:
        planted.date(keyword, f"2025{1 + study:02d}{10 + patient:02d}1015{index % 60:02d}.25-0500")
    planted.uid("StudyInstanceUID", made_uid(patient, study))
    planted.uid("SeriesInstanceUID", made_uid(patient, study, "series"))
    planted.uid("SOPInstanceUID", _instance(patient, study, index))
    planted.uid("FrameOfReferenceUID", made_uid(patient, study, "frame"))
    for keyword in (
        "InstanceCreatorUID",
        "DeviceUID",
        "IrradiationEventUID",
        "StorageMediaFileSetUID",
        "SynchronizationFrameOfReferenceUID",
    ):
        planted.uid(keyword, made_uid(patient, study, keyword))
    return planted


def _retained(planted: Planted, patient: int, index: int, kernel: str) -> None:
    """What research needs: geometry, technique, pixels, the patient's build and habits, times of day."""
    planted.keep(
        Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], BodyPartExamined="CHEST", PatientPosition="HFS", PatientSex="FM"[patient % 2],
        PatientAge="067Y", PatientSize="1.71", PatientWeight="77.5", SmokingStatus="NO", PregnancyStatus=4, EthnicGroup="Asian",
        ScanOptions="HELICAL MODE", KVP="120", ExposureTime="500", XRayTubeCurrent="180", Exposure="90", FilterType="BODY FILTER",
        ConvolutionKernel=kernel, RotationDirection="CW", ExposureModulationType="XYZ_EC", SliceThickness="1.25", SpacingBetweenSlices="1.25",
        ReconstructionDiameter="350", DataCollectionDiameter="500", GantryDetectorTilt="0", TableHeight="150", SpiralPitchFactor=0.98,
        CTDIvol=7.2, SeriesNumber="2", AcquisitionNumber="1", InstanceNumber=str(index + 1), ImagePositionPatient=["-175", "-175", str(-300 + index)],
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"], PixelSpacing=["0.68", "0.68"], Rows=SIZE, Columns=SIZE, SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2", BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0, RescaleIntercept="-1024",
        RescaleSlope="1", RescaleType="HU", WindowCenter=["-600", "40"], WindowWidth=["1500", "400"], SliceLocation=str(-300 + index),
        StudyTime="101500", SeriesTime="101700", AcquisitionTime="101800.123456", ContentTime="101900", LossyImageCompression="00",
        BurnedInAnnotation="NO", TimezoneOffsetFromUTC="-0500",
    )  # fmt: skip
    planted.dataset.PixelData = bytes(range(2 * SIZE * SIZE))
    planted.require(Act.PIXELS_RETAINED, "PixelData")


def _refer(planted: Planted, patient: int, study: int, index: int) -> None:
    """References to the neighbour slice, which must lead to its copy; a code whose meaning is a name."""
    neighbour = _instance(patient, study, (index + 1) % SLICES)
    for keyword in ("ReferencedImageSequence", "SourceImageSequence"):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, neighbour
        planted.hide("PatientName", where=item, path=f"{keyword}/0/")
        planted.hide("TextString", where=item, path=f"{keyword}/0/")
        setattr(planted.dataset, keyword, Sequence([item]))
        planted.require(Act.UID_CHANGED, f"{keyword}/0/ReferencedSOPInstanceUID", neighbour)
        planted.require(Act.TEXT_RETAINED, f"{keyword}/0/ReferencedSOPClassUID", CTImageStorage)
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator = "51185008", "SCT"
    planted.hide("CodeMeaning", where=region, path="AnatomicRegionSequence/0/")
    planted.dataset.AnatomicRegionSequence = Sequence([region])
    planted.require(Act.TEXT_RETAINED, "AnatomicRegionSequence/0/CodeValue", "51185008")
    planted.require(Act.TEXT_NOTNULL, "AnatomicRegionSequence/0/CodeMeaning")


def _hide_deep(planted: Planted, keyword: str, inner: str) -> None:
    """A name three sequences deep."""
    path = f"{keyword}/0/ReferencedSeriesSequence/0/"
    deepest, middle, outer = Dataset(), Dataset(), Dataset()
    planted.hide(inner, where=deepest, path=path)
    planted.hide("OperatorsName", where=middle, path=path)
    middle.ReferencedInstanceSequence = Sequence([deepest])
    outer.ReferencedSeriesSequence = Sequence([middle])
    setattr(planted.dataset, keyword, Sequence([outer]))


def _around(planted: Planted) -> None:
    """Names in the preamble and the file meta group."""
    meta, words = planted.dataset.file_meta, [canary(planted.name, "meta", place) for place in range(6)]
    meta.SourceApplicationEntityTitle, meta.SendingApplicationEntityTitle = words[0].upper()[:16], words[1].upper()[:16]
    meta.ReceivingApplicationEntityTitle, meta.ImplementationVersionName = words[2].upper()[:16], words[3].upper()[:16]
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = UID(made_uid("private information")), words[4].encode()
    planted.dataset.preamble = words[5].encode().ljust(128, b"\0")
    for word in words:
        planted.require(Act.TEXT_REMOVED, "around the data set", word[:16])


def _enhanced(patient: int) -> Planted:
    """An enhanced CT: names and dates in the functional groups, a serial number that the object demands."""
    planted = _ct(f"p{patient}-enhanced", patient, 0, 90, EnhancedCTImageStorage)
    ds = planted.dataset
    planted.hide("DeviceSerialNumber")
    planted.require(Act.TEXT_NOTNULL, "DeviceSerialNumber")
    planted.keep(NumberOfFrames="1", VolumetricProperties="VOLUME")
    shared, measures, frame, content = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = ["0.68", "0.68"], "1.25"
    shared.PixelMeasuresSequence = Sequence([measures])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    planted.require(
        Act.TEXT_RETAINED, "SharedFunctionalGroupsSequence/0/PixelMeasuresSequence/0/SliceThickness", "1.25"
    )
    path = "PerFrameFunctionalGroupsSequence/0/FrameContentSequence/0/"
    content.FrameAcquisitionDateTime = f"202501{10 + patient:02d}101500+0100"
    content.FrameAcquisitionNumber = 7
    for keyword in ("FrameComments", "FrameLabel"):
        planted.hide(keyword, where=content, path=path)
    frame.FrameContentSequence = Sequence([content])
    ds.PerFrameFunctionalGroupsSequence = Sequence([frame])
    planted.require(Act.DATE_SHIFTED, f"{path}FrameAcquisitionDateTime", content.FrameAcquisitionDateTime)
    planted.require(Act.TEXT_RETAINED, f"{path}FrameAcquisitionNumber", "7")
    planted.hide_private(*_PRIVATE[_PATIENTS[patient][3]][0])
    return planted


def _refused() -> Iterator[Case]:
    """One file of each kind that may show its patient."""
    drawn = canary("drawn in pixels", syllables=6)

    def with_class(sop_class: UID, modality: str) -> Callable[[FileDataset], None]:
        def change(ds: FileDataset) -> None:
            ds.SOPClassUID, ds.file_meta.MediaStorageSOPClassUID, ds.Modality = sop_class, sop_class, modality

        return change

    def with_element(tag: int, vr: str, value: object) -> Callable[[FileDataset], None]:
        return lambda ds: ds.add_new(tag, vr, value)

    kinds: dict[str, Callable[[FileDataset], None]] = {
        "burned-in": with_element(0x00280301, "CS", "YES"),
        "secondary-capture": with_class(SecondaryCaptureImageStorage, "CT"),
        "structured-report": with_class(BasicTextSRStorage, "SR"),
        "document": with_class(EncapsulatedPDFStorage, "DOC"),
        "document-inside": with_element(0x00420011, "OB", drawn.encode()),
        "screen-ge": with_element(0x00080008, "CS", ["DERIVED", "SECONDARY", "SCREEN SAVE"]),
        "screen-siemens": with_element(0x00080008, "CS", ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]),
        "screen-described": with_element(0x0008103E, "LO", "Dose Report"),
        "workstation": with_element(0x00080064, "CS", "WSD"),
        "overlay": with_element(0x60003000, "OW", drawn.encode().ljust(32, b"\0")),
        "overlay-later": with_element(0x601E4000, "LT", drawn),
        "curve": with_element(0x50003000, "OW", drawn.encode().ljust(32, b"\0")),
        "colour": with_element(0x00280004, "CS", "RGB"),
        "face": with_element(0x00280302, "CS", "YES"),
        "jpeg-comment": _with_comment,
    }
    for name, change in kinds.items():
        planted = _ct(f"refused-{name}", 0, 0, 80, CTImageStorage)
        ds = planted.dataset
        ds.PixelData = drawn.encode().ljust(2 * SIZE * SIZE, b"\0")
        change(ds)
        shown = "Äpfelström" if name == "jpeg-comment" else drawn
        planted.answers = [answer for answer in planted.answers if answer.act is Act.TEXT_REMOVED]
        planted.require(Act.PIXELS_HIDDEN, name, shown.encode("utf-8").decode("latin-1"))
        yield planted.case()


def _with_comment(ds: FileDataset) -> None:
    """A JPEG whose comment spells the patient's name."""
    comment = "Äpfelström^Jörg".encode()
    frame = b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + b"\xff\xd9"
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"


def _instance(patient: int, study: int, index: int) -> str:
    return made_uid(patient, study, "instance", index)


def _empty(sop_class: UID, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, UID(instance)
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID(made_uid("sender"))
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = sop_class
    return dataset
