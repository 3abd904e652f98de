"""Until when a hospital's privilege runs, and which kinds of studies it is for."""

import sqlalchemy as sa
from alembic import op

revision = "0021_privilege_limits"
down_revision = "0020_slot_site"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a privilege of before has no limit."""
    op.add_column("reader_privileges", sa.Column("valid_until", sa.DateTime(), nullable=True))
    op.add_column("reader_privileges", sa.Column("studies", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them again."""
    op.drop_column("reader_privileges", "studies")
    op.drop_column("reader_privileges", "valid_until")
