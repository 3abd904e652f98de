"""The words that a de-identified header may hold. Pure.

Everything that stays as text is made of these words, of numbers too short to be anybody's, and of marks such as VB20A; a value with
any other word goes. So no name can survive in an attribute that is meant for a body part or a kernel, whoever typed it there. The words
are those that CT scanners write: defined terms of PS3.3 for code strings, and names of makers, models, programs, kernels and windows.
A word that is missing costs a retained value and nothing else.
"""

import re
from itertools import permutations, product

MOST_DIGITS = 7
"""In one value; a social security number has nine, a date eight."""
_MOST_DIGITS_TOGETHER = 4
_LONGEST_MARK = 3
"""Letters beside a digit, as in VB20A or Br40d."""

_EXACT = {
    "ISO_10918_1", "ISO_14495_1", "ISO_15444_1", "ISO_15444_2", "ISO_13818_1", "ISO_14496_10", "ISO_14496_12", "ISO_23008_2",
    "ISO_18181_1", "GB18030", "GBK",
}  # fmt: skip

_CODE_WORDS = """
original derived mixed primary secondary axial localizer volume resampled reformatted average add sub subtract subtraction mpr mip minip mean
median max min maximum minimum maximumip vrt csa parallel ranges range curved oblique coronal sagittal ax cor sag thin thick som spi seq dual de
vmi mono monoenergetic energy weighted blended mix virtual non contrast water iodine calcium fat material map density fraction effective z atomic
number monochromatic modified electron stopping power norm normal dis nd m f o u y n yes no unknown none other angio perfusion rcbf rcbv rmtt ttp mtt
tmax permeability bone lung tissue soft standard multi single spectral sbi keV kev ct cta rm hu us od r l b rl lr ap pa hf fh left right both
unpaired hfs hfp hfdr hfdl ffs ffp ffdr ffdl lfp lfs rfp rfs afdl afdr pfdl pfdr monochrome identity inverse linear exact sigmoid lin mono color
true sampled distorted product research service cw cc constant angle spiral sequenced stationary free helical helix mode scout cine dynamic shuttle sequence
scan axial step shoot surview topogram tomogram fluoroscopy smartprep smart prep bolus tracking triggered prospective retrospective gated gating
ecg respiratory cardiac breath hold insp inspiration exp expiration real time realtime paced filter back proj projection iterative asir idose admire safire
aidr fbp mbir dlir xy xyz ec zec auto angular longitudinal organ based wedge flat body head strip cylinder reco butterfly none bowtie
aluminum copper tin titanium mixed product fast fluoro full half resolution high ultra low dose normal enhanced uncorrected corrected post pre arterial
venous portal delayed immediate late early phase plain native oral rect fingerprint round circle iso ir img altered unaltered read low med
ima planar
rotating target tungsten molybdenum rhodium cylindrical planar system device table patient moving automatic manual fixed estimated whole partial
dcmr sct dcm iodinated negative positive active inactive begin end ref reference lossy lossless
removed unmodified
"""
_BODY_WORDS = """
abdomen abdomenpelvis abdpel ankle aorta arm axilla back bladder body brain breast bronchus bronchi calf calcaneus carotid cap cerebellum cervix chest
chestabd chestabdomen chestabdpelv chestabdpelvis clavicle coccyx colon cspine cervical elbow esophagus extremity eye face femur finger foot forearm
gallbladder hand hc head headneck heart hilum hip humerus iac ileum jaw joint kidney knee larynx leg liver lspine lumbar lung lungs mandible maxilla
mediastinum mouth neck neckchest neckchestabdomen neckchestabdpelv neckchestabdpelvis neckchestabdpelvis nose orbit ovary pancreas parotid pelvis penis pharynx
pleura prostate rectum rib ribs sacrum scapula sella shoulder sinus skull spine spleen ssspine sternum stomach tspine thigh thoracic thorax thumb thymus
thyroid tibia tlspine toe tongue trachea trunk tl upper lower middle lobe lobes up thoraxabdomen uterus vagina vessel wholebody whole wrist to and with the of
chestpe abdo pulmonary apex base entire region structure
"""
_DEVICE_WORDS = """
ge medical systems system healthcare siemens healthineers healthineer philips elscint toshiba mec canon cannon hitachi aloka corporation fujifilm fuji united
imaging uih shanghai neusoft neurologica samsung shimadzu picker international marconi imatron varian accuray anke minfound sinovision carestream agfa
imaging sciences medtech acme lightspeed brightspeed hispeed prospeed optima discovery revolution apex frontier evo maxima ascend vibe edge ace act
es elite pro power expert hd vct plus rt xt xtra ultra qx i advantage somatom sensation emotion definition as flash force drive edge perspective scope confidence spirit
balance volume zoom esprit smile go up now top all sim open naeotom alpha x cite biograph mct horizon vision quadra symbia truepoint intevo brilliance big
bore ict sp ingenuity core elite flex iqon spectral incisive mx access essence gemini tf ambition vereos aquilion one prime lightning start genesis vision
exceed lb precision serve activion asteion alexion auklet xpress xvision supria eclos scenaria pronto robusto radix presto uct umi atlas neuviz glory
epoch insitum classic extra prudent ceretom bodytom somaris syngo vcti cti base sles hde gmp qin coreload apps lightspeedapps series zeta vct va vb vc mw er
software version ver v release rel build sw bin prod scanner ct pet spect xenon dlir asir fx gsi super hires
standard stnd std lung bone boneplus soft detail dtl chst chest edge edg ultra sharp smooth medium very extra crisp brain head body angio b c d e l u w y
ya yb yc yd ea eb ec br bl bv bf bm qr hr hf hc hv hn sa sb sc kernel fc ab hp h hx uh recon filter lp algorithm sharpc
window windows wl ww narrow wide center width explanation mediastinum mediastinal abdomen abdominal liver soft tissue user default preset optimal normal
large small bowtie fil bow tie cardiac medium flat wedge none hounsfield houndsfield unit units hu us od unspecified us mgml hu mod z eff pct ed ml mg hounsfield
iv oral sn om xy xiphoid sternal notch iliac crest removed unknown
"""
_ETHNIC_WORDS = """
african american arab asian black caribbean caucasian central chinese east eastern european filipino hispanic indian indigenous islander islands japanese
korean latin latina latino latinx middle mixed multiracial native north northern not hispanic or other pacific polynesian race refused south southern
southeast turkish unknown vietnamese west western white alaska alaskan hawaiian mestizo maori aboriginal australian declined specified
"""
CODE_WORDS = frozenset((_CODE_WORDS + _BODY_WORDS).lower().split())
TEXT_WORDS = CODE_WORDS | frozenset(_DEVICE_WORDS.lower().split())
ETHNIC_WORDS = frozenset(_ETHNIC_WORDS.split())
"""Of (0010,2160) alone: several are names of people as well."""

ORIENTATION_WORDS = frozenset(
    "".join(letters).lower()
    for axes in permutations(("AP", "RL", "HF"))
    for count in (1, 2, 3)
    for letters in product(*axes[:count])
)
"""Of (0020,0020) alone: directions of the body, such as L or PF (PS3.3 C.7.6.1.1.1)."""

_SEPARATORS = re.compile(r"[\s_\-/.,+()\[\]*:;#&^=|]+")
_RUNS = re.compile(r"[A-Za-z]+|[0-9]+")
_WRITABLE = re.compile(r"[ -\[\]-~]*")  # ASCII without control characters and the backslash, which parts values


def says_nothing_of_anybody(value: str, words: frozenset[str]) -> bool:
    """Say whether a text is made of known words, short numbers and marks alone.

    Args:
        value: One value of an attribute.
        words: Those that it may hold, in lower case.
    """
    if value in _EXACT:
        return True
    few = sum(character.isdigit() for character in value) <= MOST_DIGITS
    return bool(_WRITABLE.fullmatch(value)) and few and all(_known(token, words) for token in _SEPARATORS.split(value))


def _known(token: str, words: frozenset[str]) -> bool:
    if len(token) <= 1 or token.lower() in words:
        return not token or token.isalnum()
    runs = _RUNS.findall(token)
    if "".join(runs) != token or not any(run.isdigit() for run in runs):
        return False
    return all(_short(run, words) for run in runs)


def _short(run: str, words: frozenset[str]) -> bool:
    if run.isdigit():
        return len(run) <= _MOST_DIGITS_TOGETHER
    return len(run) <= _LONGEST_MARK or run.lower() in words
