"""The reading exchange: readers, requests, slots, claims, grants, receipts, events."""

import sqlalchemy as sa
from alembic import op

revision = "0002_reading"
down_revision = "0001_core"
branch_labels = None
depends_on = None

TABLES = (
    "readers",
    "credential_terms",
    "reader_keys",
    "read_requests",
    "read_slots",
    "read_claims",
    "read_grants",
    "report_receipts",
    "read_events",
)


def upgrade() -> None:
    """Make the tables, those that others point at first."""
    _readers()
    _requests()
    _claims()


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(), nullable=nullable)


def _points(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target])


def _readers() -> None:
    op.create_table(
        "readers",
        _text("reader_id"),
        _text("home_site", nullable=True),
        _number("capacity"),
        _number("capacity_stat"),
        _points("home_site", "sites.site"),
        _points("reader_id", "people.id"),
        sa.PrimaryKeyConstraint("reader_id"),
    )
    op.create_table(
        "credential_terms",
        _number("credential_id"),
        _moment("valid_from"),
        _moment("valid_until"),
        _text("verified_by"),
        _moment("verified_at"),
        _points("credential_id", "credentials.id"),
        sa.PrimaryKeyConstraint("credential_id"),
    )
    op.create_table(
        "reader_keys",
        _text("reader_id"),
        _text("site"),
        _text("jkt"),
        _points("reader_id", "people.id"),
        sa.PrimaryKeyConstraint("reader_id", "site"),
    )


def _requests() -> None:
    op.create_table(
        "read_requests",
        *(_text(name) for name in ("request_id", "site", "priority", "age_band", "sex")),
        *(_number(name) for name in ("slices", "megabytes", "ggo_percent")),
        *(_text(name) for name in ("jurisdiction", "language")),
        _number("reads_required"),
        *(_moment(name) for name in ("posted_at", "due_at", "expires_at")),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("ix_read_requests_site", "read_requests", ["site"], unique=False)
    op.create_table(
        "read_slots",
        _text("request_id"),
        _number("number"),
        _text("state"),
        _number("fence"),
        *(_text(name, nullable=True) for name in ("claim_id", "reader_id")),
        _moment("lease_until", nullable=True),
        _points("request_id", "read_requests.request_id"),
        sa.PrimaryKeyConstraint("request_id", "number"),
    )
    op.create_index("ix_read_slots_claim_id", "read_slots", ["claim_id"], unique=False)
    op.create_index("ix_read_slots_reader_id", "read_slots", ["reader_id"], unique=False)
    op.create_index("read_slots_by_state", "read_slots", ["state", "lease_until"], unique=False)
    op.create_table(
        "read_events",
        _number("id"),
        _text("request_id"),
        _number("number"),
        *(_text(name) for name in ("event", "state")),
        _moment("at"),
        _points("request_id", "read_requests.request_id"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_read_events_request_id", "read_events", ["request_id"], unique=False)


def _claims() -> None:
    op.create_table(
        "read_claims",
        *(_text(name) for name in ("claim_id", "request_id")),
        _number("number"),
        _text("reader_id"),
        _number("fence"),
        _moment("made_at"),
        *(_moment(name, nullable=True) for name in ("heartbeat_at", "ended_at")),
        _text("ended_by", nullable=True),
        _points("reader_id", "people.id"),
        _points("request_id", "read_requests.request_id"),
        sa.PrimaryKeyConstraint("claim_id"),
    )
    op.create_index("ix_read_claims_reader_id", "read_claims", ["reader_id"], unique=False)
    op.create_index("ix_read_claims_request_id", "read_claims", ["request_id"], unique=False)
    op.create_table(
        "read_grants",
        *(_text(name) for name in ("jti", "claim_id", "jkt")),
        _moment("expires_at"),
        _moment("revoked_at", nullable=True),
        _points("claim_id", "read_claims.claim_id"),
        sa.PrimaryKeyConstraint("jti"),
    )
    op.create_index("ix_read_grants_claim_id", "read_grants", ["claim_id"], unique=False)
    op.create_table(
        "report_receipts",
        _text("claim_id"),
        _number("version"),
        *(_text(name) for name in ("status", "report_sha256", "rsna_class")),
        *(_number(name) for name in ("corads", "severity_score")),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in ("agrees_with_measurement", "critical")),
        _moment("received_at"),
        _moment("signed_at", nullable=True),
        _points("claim_id", "read_claims.claim_id"),
        sa.PrimaryKeyConstraint("claim_id", "version"),
    )
