"""Tables of the store in the node's database. No UID, name or date of a patient stands in them: keys are HMACs."""

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
CREATE TABLE IF NOT EXISTS withdrawn_subject (
    subject_key TEXT PRIMARY KEY,
    withdrawn_at REAL NOT NULL
) STRICT;
"""
"""`finding.verdict` is null until the gate has answered; then it is `clear` or the code of its refusal."""
