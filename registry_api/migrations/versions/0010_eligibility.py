"""Who may read what: privileges, trainings, conflicts, shifts; evidence of credentials; what a request asks for beyond them."""

import sqlalchemy as sa
from alembic import op

revision = "0010_eligibility"
down_revision = "0009_questions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and add the columns."""
    for table, column in _columns():
        op.add_column(table, column)
    op.create_table(
        "reader_trainings",
        _text("reader_id"),
        _text("subspecialty"),
        *(_moment(name) for name in ("valid_from", "valid_until")),
        _text("verified_by"),
        _moment("verified_at"),
        _text("evidence"),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("reader_id", "subspecialty"),
    )
    op.create_table(
        "reader_privileges",
        _text("site"),
        _text("reader_id"),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        _moment("changed_at"),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("site", "reader_id"),
    )
    op.create_index("ix_reader_privileges_reader_id", "reader_privileges", ["reader_id"], unique=False)
    op.create_table(
        "reader_conflicts",
        _text("reader_id"),
        _text("site"),
        _moment("declared_at"),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("reader_id", "site"),
    )
    op.create_table(
        "reader_shifts",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("reader_id"),
        *(_moment(name) for name in ("starts_at", "ends_at")),
        _text("time_zone"),
        _text("rule", nullable=True),
        _moment("repeats_until", nullable=True),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_reader_shifts_reader_id", "reader_shifts", ["reader_id"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_reader_shifts_reader_id", "reader_shifts")
    op.drop_index("ix_reader_privileges_reader_id", "reader_privileges")
    for table in ("reader_shifts", "reader_conflicts", "reader_privileges", "reader_trainings"):
        op.drop_table(table)
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("agreements", _moment("expires_at", nullable=True)),
        ("credential_terms", sa.Column("evidence", sa.String(), nullable=False, server_default="")),
        ("readers", sa.Column("time_zone", sa.String(), nullable=False, server_default="UTC")),
        ("readers", _text("declared", nullable=True)),
        ("readers", _moment("declared_until", nullable=True)),
        ("read_requests", _text("subspecialty", nullable=True)),
        ("read_requests", sa.Column("uncertainty_percent", sa.Integer(), nullable=False, server_default="0")),
    ]


def _text(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.String(), nullable=nullable)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(), nullable=nullable)
