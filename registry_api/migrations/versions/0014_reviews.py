"""Peer reviews, and results that wait for the draw."""

import sqlalchemy as sa
from alembic import op

revision = "0014_reviews"
down_revision = "0013_amendments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; what has a result already takes no part in the draw."""
    op.create_table(
        "peer_reviews",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("claim_id", "request_id", "reviewed_claim_id")),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["read_claims.claim_id"]),
        sa.ForeignKeyConstraint(["request_id"], ["read_requests.request_id"]),
        sa.ForeignKeyConstraint(["reviewed_claim_id"], ["read_claims.claim_id"]),
        sa.PrimaryKeyConstraint("claim_id"),
    )
    for column in ("request_id", "reviewed_claim_id"):
        op.create_index(f"ix_peer_reviews_{column}", "peer_reviews", [column], unique=False)
    op.add_column("read_requests", sa.Column("undrawn_since", sa.DateTime(), nullable=True))
    op.create_index("ix_read_requests_undrawn_since", "read_requests", ["undrawn_since"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_read_requests_undrawn_since", "read_requests")
    op.drop_column("read_requests", "undrawn_since")
    for column in ("reviewed_claim_id", "request_id"):
        op.drop_index(f"ix_peer_reviews_{column}", "peer_reviews")
    op.drop_table("peer_reviews")
