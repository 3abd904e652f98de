"""Under which claim an event happened, and webhooks with their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0018_events"
down_revision = "0017_alerts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add column and tables. Of earlier events nobody knows the claim: only coordinator and hospital see them."""
    op.add_column("read_events", sa.Column("claim_id", sa.String(), nullable=True))
    op.create_table(
        "webhooks",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("id", "person_id", "url")),
        sa.Column("cursor", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_webhooks_person_id", "webhooks", ["person_id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=True),
        *(sa.Column(name, sa.DateTime(), nullable=True) for name in ("next_at", "delivered_at", "dead_at")),
        sa.ForeignKeyConstraint(["webhook_id"], ["webhooks.id"]),
        sa.ForeignKeyConstraint(["event_id"], ["read_events.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("webhook_id", "next_at"):
        op.create_index(f"ix_webhook_deliveries_{column}", "webhook_deliveries", [column], unique=False)


def downgrade() -> None:
    """Drop them."""
    for column in ("next_at", "webhook_id"):
        op.drop_index(f"ix_webhook_deliveries_{column}", "webhook_deliveries")
    op.drop_table("webhook_deliveries")
    op.drop_index("ix_webhooks_person_id", "webhooks")
    op.drop_table("webhooks")
    op.drop_column("read_events", "claim_id")
