"""Names of the files in a study's folder, and of the folders beside the labels."""

CT, MASK, LUNGS = "ct.nii.gz", "mask.nii.gz", "lungs.nii.gz"
COARSE_CT, COARSE_MASK = "ct-coarse.nii.gz", "mask-coarse.nii.gz"
"""Smaller copies of the first two, which a reader gets first (`client.store.coarse`)."""

SEG, SR, PICTURE, REPORT, DOCUMENT = "seg.dcm", "sr.dcm", "picture.png", "report.html", "finding.json"

EARLIER, DRAWN = "earlier", "drawn"
"""Below the labels: masks that another took the place of, and masks that wait for their study."""
