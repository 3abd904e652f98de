"""Tables of the reading exchange in the node's database."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS read_requests (
    request_id TEXT PRIMARY KEY,
    study_key TEXT NOT NULL,
    priority TEXT NOT NULL,
    reads_required INTEGER NOT NULL,
    post TEXT NOT NULL,
    posted_s INTEGER NOT NULL,
    sent_s INTEGER,
    withdrawn_s INTEGER,
    acknowledged_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS read_priors (
    request_id TEXT PRIMARY KEY REFERENCES read_requests,
    study_key TEXT NOT NULL,
    days_before INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_claims (
    claim_id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES read_requests,
    reader_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    made_s INTEGER NOT NULL,
    opened_s INTEGER,
    ended_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS read_messages (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    question INTEGER NOT NULL,
    side TEXT NOT NULL CHECK (side IN ('reader', 'hospital')),
    words TEXT NOT NULL,
    written_s INTEGER NOT NULL,
    said_s INTEGER,
    PRIMARY KEY (claim_id, question, side)
) STRICT;
CREATE TABLE IF NOT EXISTS read_expiries (
    request_id TEXT NOT NULL REFERENCES read_requests,
    number INTEGER NOT NULL,
    heard_s INTEGER NOT NULL,
    reposted_s INTEGER,
    PRIMARY KEY (request_id, number)
) STRICT;
CREATE TABLE IF NOT EXISTS read_alarms (
    request_id TEXT NOT NULL REFERENCES read_requests,
    reason TEXT NOT NULL,
    raised_s INTEGER NOT NULL,
    PRIMARY KEY (request_id, reason)
) STRICT;
CREATE TABLE IF NOT EXISTS read_notes (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    report_sha256 TEXT NOT NULL,
    noted_s INTEGER NOT NULL,
    PRIMARY KEY (claim_id, report_sha256)
) STRICT;
CREATE TABLE IF NOT EXISTS read_discrepancies (
    claim_id TEXT PRIMARY KEY REFERENCES read_claims,
    score INTEGER NOT NULL,
    heard_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_results (
    request_id TEXT PRIMARY KEY REFERENCES read_requests,
    claim_id TEXT NOT NULL,
    agreed INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS reader_keys (
    jkt TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    approved_s INTEGER NOT NULL,
    revoked_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS reader_privileges (
    reader_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    granted INTEGER NOT NULL,
    version INTEGER NOT NULL,
    changed_s INTEGER NOT NULL,
    sent_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS reader_privilege_limits (
    reader_id TEXT PRIMARY KEY REFERENCES reader_privileges,
    until_s INTEGER,
    studies TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS grants_seen (
    jti TEXT PRIMARY KEY,
    used_s INTEGER,
    revoked_s INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS proofs_seen (
    jkt TEXT NOT NULL,
    jti TEXT NOT NULL,
    seen_s INTEGER NOT NULL,
    PRIMARY KEY (jkt, jti)
) STRICT;
DROP TABLE IF EXISTS reader_sessions;
CREATE TABLE IF NOT EXISTS gateway_sessions (
    cookie_sha256 TEXT PRIMARY KEY,
    claim_id TEXT NOT NULL REFERENCES read_claims,
    fence INTEGER NOT NULL,
    jkt TEXT NOT NULL,
    ath TEXT NOT NULL,
    scope TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS session_grants (
    cookie_sha256 TEXT NOT NULL REFERENCES gateway_sessions,
    jti TEXT NOT NULL REFERENCES grants_seen,
    PRIMARY KEY (cookie_sha256, jti)
) STRICT;
CREATE TABLE IF NOT EXISTS grant_renewals (
    jti TEXT PRIMARY KEY,
    claim_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    jkt TEXT NOT NULL,
    expires_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_masks (
    claim_id TEXT PRIMARY KEY REFERENCES read_claims,
    sha256 TEXT NOT NULL,
    sent_s INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS read_strokes (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    number INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    base TEXT NOT NULL,
    body BLOB NOT NULL,
    drawn_s INTEGER NOT NULL,
    handed_in_s INTEGER,
    PRIMARY KEY (claim_id, number)
) STRICT;
CREATE TABLE IF NOT EXISTS reports (
    claim_id TEXT NOT NULL REFERENCES read_claims,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    report_sha256 TEXT NOT NULL,
    submitted_s INTEGER NOT NULL,
    receipt_s INTEGER,
    final_s INTEGER,
    delivered_s INTEGER,
    PRIMARY KEY (claim_id, version)
) STRICT;
"""
"""Times are whole seconds since 1970, UTC: they are compared, and shown only by the command line.

An earlier version kept its sessions in `reader_sessions`; a session lives ten minutes, so nothing of it is worth keeping.
"""
