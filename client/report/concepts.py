"""The codes by which findings are named (PS3.16; SNOMED CT, DCM, UCUM), and what every object says of its maker."""

from highdicom import AlgorithmIdentificationSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

BANNER = "Measurement aid, not a diagnosis"
"""Stands on everything that a person may look at."""

MANUFACTURER = "Acinus"
MODEL = "acinus-node"

LUNG = Code("39607008", "SCT", "Lung")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
GROUND_GLASS = Code("112120", "DCM", "Ground glass opacity")
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
OPACITY = Code("112001", "DCM", "Opacity")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
VOLUME = Code("118565006", "SCT", "Volume")
SEVERITY = Code("246112005", "SCT", "Severity")
CT_OF_CHEST = Code("169069000", "SCT", "CT of chest")
QUALITY = Code("111052", "DCM", "Quality Finding")
MILLILITRE = Code("mL", "UCUM", "milliliter")
PERCENT = Code("%", "UCUM", "percent")
SCORE = Code("{score}", "UCUM", "score")
PRIVATE_SCHEME = "99ACINUS"
"""For quality flags, which no dictionary has (PS3.3 section 8.2: private designators begin with 99)."""


def algorithm(release: str) -> AlgorithmIdentificationSequence:
    """Return who measured: the network and its release."""
    return AlgorithmIdentificationSequence(
        name="Acinus ground-glass measurement",
        family=codes.DCM.ArtificialIntelligence,
        version=release,
        source=MANUFACTURER,
    )
