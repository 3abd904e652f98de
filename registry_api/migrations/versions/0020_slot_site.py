"""The hospital of a slot beside the slot, and indexes by which a claim finds what concerns it without looking at all that waits."""

import sqlalchemy as sa
from alembic import op

revision = "0020_slot_site"
down_revision = "0019_release_lists"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, fill it from the requests, and make the indexes."""
    op.add_column("read_slots", sa.Column("site", sa.String(), nullable=False, server_default=""))
    op.execute(
        "UPDATE read_slots SET site ="
        " (SELECT site FROM read_requests WHERE read_requests.request_id = read_slots.request_id)"
    )
    op.create_index("read_slots_by_end", "read_slots", ["state", "expires_at"], unique=False)
    op.create_index("read_slots_by_site", "read_slots", ["site", "state"], unique=False)


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("read_slots_by_site", "read_slots")
    op.drop_index("read_slots_by_end", "read_slots")
    op.drop_column("read_slots", "site")
