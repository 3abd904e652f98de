"""The first tables: people, sites, link, cases, releases."""

import sqlalchemy as sa
from alembic import op

revision = "0001_core"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, those that others point at first."""
    _people()
    _sites()
    _link()
    _cases_and_releases()


def downgrade() -> None:
    """Drop the tables."""
    for table in reversed(TABLES):
        op.drop_table(table)


TABLES = (
    "people",
    "page_sessions",
    "credentials",
    "sites",
    "invites",
    "certificates",
    "agreements",
    "parcels",
    "notices",
    "cases",
    "count_releases",
    "promoted_models",
)


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("key_sha256", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_sha256"),
    )
    op.create_table(
        "page_sessions",
        sa.Column("cookie_sha256", sa.String(), nullable=False),
        sa.Column("person_id", sa.String(), nullable=False),
        sa.Column("csrf", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("cookie_sha256"),
    )
    op.create_index("ix_page_sessions_person_id", "page_sessions", ["person_id"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.String(), nullable=False),
        sa.Column("jurisdiction", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("reader_id", "jurisdiction", "language"),
    )
    op.create_index("ix_credentials_reader_id", "credentials", ["reader_id"], unique=False)


def _sites() -> None:
    op.create_table(
        "sites",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("supernode_key", sa.String(), nullable=True),
        sa.Column("gateway_origin", sa.String(), nullable=True),
        sa.Column("enrolled_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "invites",
        sa.Column("token_sha256", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("used_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index("ix_invites_site", "invites", ["site"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("not_after", sa.DateTime(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("serial"),
    )
    op.create_index("ix_certificates_site", "certificates", ["site"], unique=False)
    op.create_table(
        "agreements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("reader_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["people.id"]),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("site", "reader_id"),
    )
    op.create_index("ix_agreements_reader_id", "agreements", ["reader_id"], unique=False)
    op.create_index("ix_agreements_site", "agreements", ["site"], unique=False)


def _link() -> None:
    op.create_table(
        "parcels",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("envelope_id", sa.String(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("site", "envelope_id"),
    )
    op.create_table(
        "notices",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    is_open = sa.text("received_at IS NULL")
    op.create_index("ix_notices_open", "notices", ["site"], sqlite_where=is_open, postgresql_where=is_open)


def _cases_and_releases() -> None:
    op.create_table(
        "cases",
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("week", sa.String(), nullable=False),
        sa.Column("age_band", sa.String(), nullable=True),
        sa.Column("sex", sa.String(), nullable=True),
        sa.Column("pcr", sa.String(), nullable=True),
        sa.Column("care_setting", sa.String(), nullable=True),
        sa.Column("ggo_percent", sa.Integer(), nullable=True),
        sa.Column("consolidation_percent", sa.Integer(), nullable=True),
        sa.Column("opacity_percent", sa.Integer(), nullable=True),
        sa.Column("severity_score", sa.Integer(), nullable=True),
        sa.Column("severity_band", sa.String(), nullable=True),
        sa.Column("rsna_class", sa.String(), nullable=True),
        sa.Column("corads", sa.Integer(), nullable=True),
        sa.Column("model_release", sa.String(), nullable=True),
        sa.Column("quality", sa.String(), nullable=True),
        sa.Column("legal_basis", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["site"], ["sites.site"]),
        sa.PrimaryKeyConstraint("site", "case_id"),
    )
    op.create_index("ix_cases_week", "cases", ["week"], unique=False)
    op.create_table(
        "count_releases",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content_sha256", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("built_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "promoted_models",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=False),
        sa.Column("signed_manifest", sa.LargeBinary(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_promoted_models_weights_sha256", "promoted_models", ["weights_sha256"], unique=False)
