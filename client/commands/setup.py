"""Makes a node's home: settings, policy and keys, all of them or nothing."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from client.gate.audit import HEAD_FILE
from client.gate.keys import make_keys
from client.settings import POLICY_FILE, SETTINGS_FILE, load_settings
from client.store.files import disk_faults, settle_folder, write_durably
from protocol.codes import Code
from protocol.errors import ConflictError
from protocol.reading import Origin

_SETTINGS = """\
# Settings of this node. Every key may also come from the environment, as ACINUS_NODE_<TABLE>__<KEY>.
# What may leave the hospital stands in policy.toml, not here.

[site]
name = {name}                      # shown on the hospital's own pages only

[dicom]
host = "127.0.0.1"                 # "0.0.0.0" to receive from other machines
port = {dicom}
ae_title = {ae_title}              # what senders call this node
allowed_callers = {callers}        # AE titles that may send; an empty list admits nobody
quiet_seconds = 30.0               # a study counts as complete when nothing has come for so long
minimum_free_mb = 1024             # below this the receiver answers "out of resources"

[gateway]
host = "127.0.0.1"
port = {gateway}
origin = {origin}                  # where readers' browsers reach this hospital; the certificate is made for it

[console]
port = {console}                   # staff page, on this machine only

[flower]
forward_port = {forward}           # loopback only
runtime_port = {runtime}           # loopback only

[compute]
device = "auto"                    # auto, cpu or cuda
threads = 0                        # CPU threads for models; 0 leaves it to torch

# [stow], [pacs], [pull]: DICOMweb in, the PACS to fetch from and to send findings to; see docs/how-to/pacs.md
"""

_POLICY = """\
# What this hospital allows. The centre cannot change a word of it; it is read anew for every decision.

[training]
allowed = false                    # true lets the site take part in federated training
purposes = ["ggo-segmentation"]    # what runs may be for
lineages = ["ggo"]                 # families of models that may be trained
bundles = []                       # SHA-256 of the app bundles whose runs are accepted; ask the coordinator, compare by telephone
strategies = ["fedavg", "fedprox", "fedadam", "trimmed-mean", "median", "krum", "multi-krum", "clipped-mean"]   # how updates may be combined
minimum_peers = 1                  # so many other hospitals must be in a run's plan, and in its quorum
labels = "masks-and-zone-scores"   # what may be trained on; "masks" leaves out patients of whom a reader's zone scores alone are known
hours = "00:00-24:00"              # when training may run, local time; 20:00-06:00 passes midnight
epsilon_total = 8.0                # most that training may ever cost a patient's privacy here (ε at delta)
epsilon_per_run = 8.0              # most that one run may cost
epsilon_per_period = 8.0           # most that any period_days days may cost
period_days = 365
whole_plan = true                  # false: runs are begun that these limits do not let the site finish; it leaves them part-way
delta = 1e-5                       # at most 1e-5 and 1/(10 most_patients)
minimum_cohort = 5                 # fewer labelled patients than this: no training
most_patients = 10000              # more labelled patients than this: no training, for delta would be too large
evaluation = false                 # true: releases are compared on held-out patients; noised sums leave, and are charged
minimum_held_out = 20              # fewer held-out patients than this: no comparison
secure_sum = "forbidden"           # runs whose updates are added up in secret and whose noise is shared: forbidden, allowed or required
secure_sum_colluders = 1           # with how many colluding sites such a sum must still be private
secure_sum_peers = []              # SHA-256 of the other hospitals' public keys, asked of them; [] takes whom the centre's authority knows

[sharing]
cases = true                       # coarse case records (week, bands, whole percents) for the ministry's counts
standing = false                   # true: one word for the network on how the model does here: steady, watch, worse or refused
legal_basis = "public-health-law"  # the ground they are shared on: public-health-law, consent or research-approval

[reading]
posts = true                       # whether staff may ask the network for a read
jurisdiction = "XA"                # where the hospital is; readers must be licensed for it
language = "en"                    # of the report
reads = 1                          # readers of each study: 1, or 2 who read blind to one another
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the hospital's IT says at `init`."""

    site_name: str
    ae_title: str
    callers: tuple[str, ...]
    ports: dict[str, int]
    """By name: dicom, gateway, console, forward, runtime."""
    origin: Origin | None = None

    @property
    def gateway_origin(self) -> Origin:
        """Where readers reach the gateway."""
        return self.origin or f"https://localhost:{self.ports['gateway']}"


def make_home(home: Path, wishes: Wishes, *, now: datetime) -> str:
    """Make a node in `home`, which must be absent or empty, and return the console's token.

    Everything is made in a folder beside it, which is then moved into place: after a crash there is a whole node or none.

    Raises:
        ConflictError: `already-exists` if there is something in `home`: keys are never replaced.
        InvalidInputError: `bad-setting` if a wish is out of range.
        UnavailableError: `disk-full`.
    """
    _refuse_occupied(home)
    with disk_faults():
        home.parent.mkdir(parents=True, exist_ok=True)
        draft = home.parent / f".{home.name}.init"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            token = _fill(draft, wishes, now)
            _move(draft, home)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return token


def _fill(draft: Path, wishes: Wishes, now: datetime) -> str:
    write_durably(draft / SETTINGS_FILE, _settings_text(wishes).encode())
    write_durably(draft / POLICY_FILE, _POLICY.encode())
    load_settings(draft)  # a wish out of range is refused here, before anything is in place
    make_keys(draft / "keys", site_name=wishes.site_name, gateway=wishes.gateway_origin, now=now)
    write_durably(draft / HEAD_FILE, json.dumps({"number": 0, "hash": "0" * 64}).encode() + b"\n")
    return (draft / "keys" / "console.token").read_text(encoding="ascii").strip()


def _move(draft: Path, home: Path) -> None:
    """Put the draft in place. A home that is a mount cannot be replaced: its parts move one by one, the settings last."""
    if not home.is_mount():
        draft.rename(home)  # replaces an empty folder
        settle_folder(home.parent)
        return
    for entry in sorted(draft.iterdir(), key=lambda path: path.name == SETTINGS_FILE):
        shutil.move(entry, home / entry.name)
    settle_folder(home)


def _settings_text(wishes: Wishes) -> str:
    """JSON and TOML write strings and lists of strings alike."""
    words = {
        "name": json.dumps(wishes.site_name, ensure_ascii=False),
        "ae_title": json.dumps(wishes.ae_title),
        "callers": json.dumps(list(wishes.callers)),
        "origin": json.dumps(wishes.gateway_origin),
    }
    return _SETTINGS.format(**words, **wishes.ports)


def _refuse_occupied(home: Path) -> None:
    try:
        occupied = home.exists() and (not home.is_dir() or any(home.iterdir()))
    except OSError:
        occupied = True
    if occupied:
        raise ConflictError(
            Code.ALREADY_EXISTS,
            f"{home} is not an empty folder; the keys of a node are never replaced. Choose another --home, or look there.",
        )
