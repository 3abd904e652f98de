"""Names of the files in a study's folder."""

CT, MASK, LUNGS = "ct.nii.gz", "mask.nii.gz", "lungs.nii.gz"
SEG, SR, PICTURE, REPORT, DOCUMENT = "seg.dcm", "sr.dcm", "picture.png", "report.html", "finding.json"
