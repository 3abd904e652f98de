"""Which real scans `bench.accuracy` measures, what is known of each, and what must be refused. They lie beside the checkout, in ../shared/data."""

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

WITHOUT, WITH = "without opacity", "COVID-19"


@dataclass(frozen=True, slots=True)
class Known:
    """A scan: `kind` is `WITHOUT` or `WITH` disease; `what` and `scanner` are for the reader of a table."""

    path: str
    kind: str
    what: str
    scanner: str

    @property
    def healthy(self) -> bool:
        """Whether nothing at all is known to be wrong with these lungs."""
        return self.what.startswith(("normal", "healthy"))

    @property
    def maker(self) -> str:
        """Who made the scanner."""
        return self.scanner.split()[0].rstrip(",")


VOLUMES = (
    Known("ct_nifti/covidctmd_normal002.nii.gz", WITHOUT, "normal", "Siemens SOMATOM Scope, B41s"),
    Known("ct_dicom/acrin013_axial.zip", WITHOUT, "low-dose PET-CT, breast cancer, 4 mm", "Siemens Sensation 16, B10f"),
    Known("ct_nifti/lidc_0003.nii.gz", WITHOUT, "nodules, contrast", "GE LightSpeed16, STANDARD"),
    Known("ct_nifti/lungdx_A0001.nii.gz", WITHOUT, "tumour, 5 mm", "Philips Brilliance 16, B"),
    Known("ct_nifti/cip_ct64.nii.gz", WITHOUT, "emphysema-like, 4 mm voxels", "GE"),
    Known("ct_nifti/pancreasctcb_001_lowerlungs.nii.gz", WITHOUT, "lower half of the lungs", "Philips Big Bore, B"),
    Known("ct_nifti/totalseg_pulmonary/ct_cropped.nii.gz", WITHOUT, "cut around the heart, contrast", "unknown"),
    Known("ct_nifti/imlab1.nii.gz", WITHOUT, "healthy, noisy, 3 x 3 x 5 mm voxels", "unknown"),
    Known("ct_nifti/imlab2.nii.gz", WITHOUT, "healthy, noisy, raised diaphragm", "unknown"),
    Known("ct_nifti/covidctmd_P002.nii.gz", WITH, "mostly left, little on the right", "Siemens SOMATOM Scope, D40s"),
    Known("ct_dicom/ricord1a_000082_part_dicom.zip", WITH, "bilateral, part of the lungs", "unknown, STANDARD"),
)

SLICES = (
    Known("covid_ct_slices/A002304_axial_19001231-076.dcm", WITH, "near normal by a layman", "GE LightSpeed VCT"),
    Known("covid_ct_slices/A002304_axial_19010112-135.dcm", WITH, "bilateral ground glass", "GE LightSpeed VCT"),
    Known("covid_ct_slices/A048383_axial_19001231-30.dcm", WITH, "near normal by a layman", "GE LightSpeed VCT"),
    Known("covid_ct_slices/A048383_axial_19010410-30.dcm", WITH, "near normal by a layman", "GE LightSpeed VCT"),
    Known("covid_ct_slices/A072894_axial_19001203-066.dcm", WITH, "effusion, atelectasis", "GE LightSpeed VCT"),
    Known("covid_ct_slices/A072894_axial_19010103-40.dcm", WITH, "effusion, atelectasis", "GE LightSpeed VCT"),
    Known("tcga_ct_slices/ID_0000_AGE_0060_CONTRAST_1_CT.dcm", WITHOUT, "lung cancer", "Siemens SOMATOM Plus 4, AB50"),
    Known("tcga_ct_slices/ID_0002_AGE_0074_CONTRAST_1_CT.dcm", WITHOUT, "lung cancer", "Siemens Definition AS+, B31f"),
    Known("tcga_ct_slices/ID_0004_AGE_0056_CONTRAST_1_CT.dcm", WITHOUT, "lung cancer", "Siemens Emotion, B50s"),
    Known("tcga_ct_slices/ID_0008_AGE_0051_CONTRAST_1_CT.dcm", WITHOUT, "lung cancer", "GE LightSpeed VCT, STANDARD"),
    Known("tcga_ct_slices/ID_0050_AGE_0074_CONTRAST_0_CT.dcm", WITHOUT, "lung cancer", "GE HiSpeed CT/i, SOFT"),
    Known("tcga_ct_slices/ID_0063_AGE_0073_CONTRAST_0_CT.dcm", WITHOUT, "lung cancer", "Siemens Biograph 6, B31s"),
    Known("dicom_stress/wg04_CT1_RLE.dcm", WITHOUT, "normal, contrast", "GE"),
)

REFUSED = (
    ("X-rays", "cxr/*.png", {"not-ct"}),
    ("X-rays", "dicom_stress/hd_dx_image.dcm", {"not-ct"}),
    ("X-rays", "dicom_stress/nih_cxr_DX.dcm", {"not-ct"}),
    ("X-rays", "dicom_stress/RG1_J2KI_chest_CR.dcm", {"not-ct"}),
    ("other objects", "dicom_stress/dcmqi_liver_SEG.dcm", {"not-ct"}),
    ("other objects", "dicom_stress/hd_seg_image_ct_binary.dcm", {"not-ct"}),
    ("other objects", "dicom_stress/py_rtplan.dcm", {"not-ct"}),
    ("other objects", "dicom_stress/py_reportsi.dcm", {"not-ct"}),
    ("other objects", "dicom_stress/ms_lung.dcm", {"not-ct"}),
    ("label maps", "lesion_masks_only/*.nii.gz", {"not-hu"}),
    ("label maps", "ct_nifti/*lungmask.nii.gz", {"not-hu"}),
    ("label maps", "ct_nifti/*votes.nii.gz", {"not-hu"}),
    ("label maps", "ct_nifti/totalseg_pulmonary/[hp]*.nii.gz", {"not-hu"}),
    ("label maps", "inserted/truth/*.nii.gz", {"not-hu"}),
    ("8-bit copies", "dicom_stress/cs_CTImage_JPEGProcess1_*.dcm", {"not-hu"}),
    ("slices of the abdomen", "covid_ct_slices/A058062_*.dcm", {"no-lung"}),
    ("slices of the abdomen", "covid_ct_slices/A027284_*.dcm", {"no-lung"}),
    ("slices of the abdomen", "tcga_ct_slices/ID_0022_*.dcm", {"no-lung"}),
    ("slices of the abdomen", "dicom_stress/explicit_VR-UN.dcm", {"no-lung"}),
    ("slices of the shoulders", "dicom_stress/cs_CTImage.dcm", {"no-lung"}),
    ("heads", "dicom_stress/gantry_tilt_GE.zip", {"gantry-tilt", "no-lung"}),
    ("heads", "dicom_stress/eCT_Supplemental.dcm", {"no-lung"}),
    ("heads", "dicom_stress/py_J2K_pixelrep_mismatch.dcm", {"no-lung"}),
    ("reformats", "covid_ct_slices/*coronal*.dcm", {"not-axial"}),
    ("reformats", "covid_ct_slices/*sagittal*.dcm", {"not-axial"}),
    ("scouts", "dicom_stress/barre_CT_chest_JPEG70.dcm", {"localizer"}),
    ("damaged or not decodable", "dicom_stress/fo_GH178.dcm", {"unreadable"}),
    ("damaged or not decodable", "dicom_stress/ms_I341.dcm", {"unsupported-transfer-syntax"}),
)
"""What it is, where, and with which code it must be refused."""


def present(data: Path, scans: tuple[Known, ...]) -> list[Known]:
    """Return the scans that are there."""
    return [scan for scan in scans if (data / scan.path).exists()]


def to_refuse(data: Path) -> Iterator[tuple[str, Path, set[str]]]:
    """Yield what must be refused: what it is, the file, the right codes."""
    for what, pattern, codes in REFUSED:
        for path in sorted(data.glob(pattern)):
            yield what, path, codes


def inserted(data: Path) -> list[dict[str, Any]]:
    """Return the cases of `inserted/truth.json` that are to be measured."""
    path = data / "inserted" / "truth.json"
    cases: list[dict[str, Any]] = json.loads(path.read_bytes())["cases"] if path.exists() else []
    return [case for case in cases if case["expect"] == "ok"]


def slice_labels(data: Path) -> list[bool]:
    """Return for each slice of `covidctmd_P002`, from the feet up, whether a radiologist saw infection in it."""
    path = data / "ct_nifti" / "covidctmd_P002_slicelabels.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [row["infection"] == "1" for row in csv.DictReader(file)]


def expert_slices(data: Path) -> list[tuple[Path, Path]]:
    """Return the slices with a radiologist's mask (8-bit, brought to invented HU) and their masks."""
    masks = sorted((data / "ggo_slices_pseudohu").glob("*_mask.nii.gz"))
    return [(path.with_name(path.name.replace("_mask", "")), path) for path in masks]


def sha256_of(path: Path) -> str:
    """Return the hash of a file, to tell whether the weights learnt from it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
