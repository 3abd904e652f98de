"""Tables of the store in the node's database. No UID, name or number of a patient stands in them: keys are HMACs.

Only the tables of context hold days (of a test, of a birth, of a study) and, where the site keeps it, the clinical question: without
them no test result could be laid beside a scan. They never leave the node.
"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    study_key TEXT PRIMARY KEY,
    subject_key TEXT NOT NULL,
    case_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'measured', 'refused')),
    code TEXT,
    revision INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    grid TEXT,
    received_at REAL NOT NULL,
    changed_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS study_by_state ON study (state, changed_at);
CREATE INDEX IF NOT EXISTS study_by_subject ON study (subject_key);
CREATE TABLE IF NOT EXISTS instance (
    instance_key TEXT PRIMARY KEY,
    study_key TEXT NOT NULL REFERENCES study (study_key),
    series_key TEXT NOT NULL,
    file TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    received_at REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS instance_by_study ON instance (study_key, series_key);
CREATE TABLE IF NOT EXISTS quarantine (
    sha256 TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    file TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    received_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS finding (
    study_key TEXT PRIMARY KEY REFERENCES study (study_key),
    model_release TEXT NOT NULL,
    document TEXT NOT NULL,
    record TEXT NOT NULL,
    version INTEGER NOT NULL,
    verdict TEXT,
    measured_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS label (
    study_key TEXT PRIMARY KEY REFERENCES study (study_key),
    grid TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    held_out INTEGER NOT NULL DEFAULT 0,
    labelled_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS label_history (
    study_key TEXT NOT NULL REFERENCES study (study_key),
    sha256 TEXT NOT NULL,
    grid TEXT NOT NULL,
    source TEXT NOT NULL,
    labelled_at REAL NOT NULL,
    superseded_at REAL NOT NULL,
    PRIMARY KEY (study_key, sha256, labelled_at)
) STRICT;
CREATE TABLE IF NOT EXISTS drawn_mask (
    sha256 TEXT PRIMARY KEY,
    study_key TEXT NOT NULL REFERENCES study (study_key),
    received_at REAL NOT NULL,
    code TEXT,
    settled_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS drawn_draft (
    sha256 TEXT PRIMARY KEY REFERENCES drawn_mask (sha256),
    study_key TEXT NOT NULL,
    author TEXT NOT NULL,
    ground_glass_ml REAL NOT NULL,
    consolidation_ml REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS drawn_decision (
    sha256 TEXT PRIMARY KEY REFERENCES drawn_mask (sha256),
    study_key TEXT NOT NULL,
    approved INTEGER NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS zone_label (
    study_key TEXT PRIMARY KEY REFERENCES study (study_key),
    grid TEXT NOT NULL,
    reader_id TEXT NOT NULL,
    points TEXT NOT NULL CHECK (points GLOB '[0-4][0-4][0-4][0-4][0-4][0-4]'),
    model_release TEXT NOT NULL,
    held_out INTEGER NOT NULL DEFAULT 0,
    labelled_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS expectation (
    study_key TEXT NOT NULL,
    series_key TEXT NOT NULL,
    instances INTEGER NOT NULL,
    noted_at REAL NOT NULL,
    PRIMARY KEY (study_key, series_key)
) STRICT;
CREATE TABLE IF NOT EXISTS hold (
    study_key TEXT NOT NULL,
    holder TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (study_key, holder)
) STRICT;
CREATE TABLE IF NOT EXISTS label_resampling (
    study_key TEXT PRIMARY KEY,
    label_sha256 TEXT NOT NULL,
    dice REAL NOT NULL,
    volume_ratio REAL NOT NULL,
    outside_fraction REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS withdrawn_subject (
    subject_key TEXT PRIMARY KEY,
    withdrawn_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS withdrawn_number (
    name TEXT PRIMARY KEY
) STRICT;
CREATE TABLE IF NOT EXISTS named_under (
    name TEXT PRIMARY KEY,
    key_id TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pseudonym_key (
    key_id TEXT PRIMARY KEY,
    made_at REAL NOT NULL,
    retired_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS study_name (
    study_key TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('order', 'subject', 'number')),
    name TEXT NOT NULL,
    PRIMARY KEY (study_key, role, name)
) STRICT;
CREATE INDEX IF NOT EXISTS study_by_name ON study_name (name, role);
CREATE VIEW IF NOT EXISTS withdrawn_person AS
WITH RECURSIVE gone (subject_key) AS (
    SELECT subject_key FROM withdrawn_subject
    UNION SELECT study.subject_key FROM withdrawn_number CROSS JOIN study_name USING (name) CROSS JOIN study USING (study_key)
        WHERE role = 'number'
    UNION SELECT other.subject_key FROM gone CROSS JOIN study own ON own.subject_key = gone.subject_key
        CROSS JOIN study_name said ON said.study_key = own.study_key AND said.role = 'number'
        CROSS JOIN study_name same ON same.name = said.name AND same.role = 'number'
        CROSS JOIN study other ON other.study_key = same.study_key
)
SELECT subject_key FROM gone;
CREATE TABLE IF NOT EXISTS context_fact (
    slot TEXT PRIMARY KEY,
    source TEXT NOT NULL CHECK (source IN ('hl7', 'fhir', 'csv', 'staff')),
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    first_day INTEGER,
    last_day INTEGER,
    retracted INTEGER NOT NULL DEFAULT 0,
    stated_at REAL NOT NULL,
    received_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS context_fact_name (
    slot TEXT NOT NULL REFERENCES context_fact (slot),
    role TEXT NOT NULL CHECK (role IN ('study', 'order', 'subject', 'number')),
    name TEXT NOT NULL,
    PRIMARY KEY (slot, role, name)
) STRICT;
CREATE INDEX IF NOT EXISTS context_fact_by_name ON context_fact_name (name, role);
CREATE TABLE IF NOT EXISTS context_message (
    digest TEXT PRIMARY KEY,
    received_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS context_due (
    study_key TEXT PRIMARY KEY,
    mark INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS study_context (
    study_key TEXT PRIMARY KEY,
    day INTEGER,
    header_sex TEXT NOT NULL,
    header_age_band TEXT NOT NULL,
    sex TEXT NOT NULL,
    age_band TEXT NOT NULL,
    pcr TEXT NOT NULL,
    care_setting TEXT NOT NULL,
    question TEXT,
    sources TEXT NOT NULL,
    doubts TEXT NOT NULL,
    concluded_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS study_input (
    study_key TEXT PRIMARY KEY,
    maker TEXT NOT NULL,
    slice_mm REAL NOT NULL,
    lung_hu REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS held_out_score (
    release TEXT NOT NULL,
    study_key TEXT NOT NULL,
    label_sha256 TEXT NOT NULL,
    score REAL,
    PRIMARY KEY (release, study_key)
) STRICT;
CREATE TABLE IF NOT EXISTS told_standing (
    version INTEGER PRIMARY KEY,
    release TEXT NOT NULL,
    standing TEXT NOT NULL,
    told_at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tombstone (
    study_key TEXT PRIMARY KEY,
    subject_key TEXT NOT NULL,
    case_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    admit_again INTEGER NOT NULL DEFAULT 0,
    asked_at REAL NOT NULL,
    done_at REAL
) STRICT;
CREATE TABLE IF NOT EXISTS expired (
    study_key TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('instances', 'results', 'pictures')),
    expired_at REAL NOT NULL,
    PRIMARY KEY (study_key, kind)
) STRICT;
"""
"""`finding.verdict` is null until the gate has answered; then it is `clear` or the code of its refusal.
`label_resampling` says what a mask lost when it was brought to its study's grid; a row counts only for the label with its hash.
`label_history` holds the masks that another took the place of; `drawn_mask` what came as DICOM SEG, by the hash of its data set.
`withdrawn_person` gives the patients who withdrew and whoever has a number of theirs (`client.store.persons`); `withdrawn_number` holds the
numbers of those whose studies were deleted since. Its joins are CROSS so that SQLite keeps their order: any other reads all studies for each patient.
`drawn_draft` says what such a mask holds, once it was found to fit its study; `drawn_decision` whether it may become a label, by the word of
a person, or by a reader's signature.
`zone_label.points` are a reader's, right and left of the lower, the middle and the upper third; `model_release` is the one whose
measurement the reader saw, and whose probabilities say where in a zone the opacity lies."""
