"""Keys of programs, and who read which counts."""

import sqlalchemy as sa
from alembic import op

revision = "0016_programs"
down_revision = "0015_queue"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "api_keys",
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("id", "person_id", "label", "prefix", "key_sha256", "scopes")
        ),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_sha256"),
    )
    op.create_index("ix_api_keys_person_id", "api_keys", ["person_id"], unique=False)
    op.create_table(
        "read_log",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("line", "day", "person_id", "what")),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("line"),
    )
    op.create_index("ix_read_log_day", "read_log", ["day"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_read_log_day", "read_log")
    op.drop_table("read_log")
    op.drop_index("ix_api_keys_person_id", "api_keys")
    op.drop_table("api_keys")
