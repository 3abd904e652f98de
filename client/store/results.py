"""Names of the files in a study's folder, of labels, and of the folders below them."""

CT, MASK, LUNGS = "ct.nii.gz", "mask.nii.gz", "lungs.nii.gz"
COARSE_CT, COARSE_MASK = "ct-coarse.nii.gz", "mask-coarse.nii.gz"
"""Smaller copies of the first two, which a reader gets first (`client.store.coarse`)."""

SEG, SR, PICTURE, REPORT, DOCUMENT = "seg.dcm", "sr.dcm", "picture.png", "report.html", "finding.json"

DRAWN = "drawn"
"""Below the labels: DICOM SEG objects that are no labels yet."""


def mask_name(study_key: str, sha256: str) -> str:
    """Return the name of a label's mask by its study and its content (the SHA-256 of the unpacked NIfTI)."""
    return f"{study_key}-{sha256[:16]}.nii.gz"
