"""Alert rules and alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0017_alerts"
down_revision = "0016_programs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alert_rules",
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in ("id", "person_id", "place", "categories", "measure")
        ),
        sa.Column("threshold", sa.Float(), nullable=False),
        sa.Column("above", sa.Boolean(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alert_rules_person_id", "alert_rules", ["person_id"], unique=False)
    op.create_table(
        "alerts",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("id", "rule_id", "week")),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("measured", sa.Float(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("raised_at", sa.DateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(), nullable=True),
        sa.Column("delivered_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["rule_id"], ["alert_rules.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("rule_id", "week"),
    )
    op.create_index("ix_alerts_next_at", "alerts", ["next_at"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_alerts_next_at", "alerts")
    op.drop_table("alerts")
    op.drop_index("ix_alert_rules_person_id", "alert_rules")
    op.drop_table("alert_rules")
