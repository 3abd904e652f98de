"""Names of the files in a study's folder, and of the folders beside the labels."""

CT, MASK, LUNGS = "ct.nii.gz", "mask.nii.gz", "lungs.nii.gz"
SEG, SR, PICTURE, REPORT, DOCUMENT = "seg.dcm", "sr.dcm", "picture.png", "report.html", "finding.json"

EARLIER, DRAWN = "earlier", "drawn"
"""Below the labels: masks that another took the place of, and masks that wait for their study."""
