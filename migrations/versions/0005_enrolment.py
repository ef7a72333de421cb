"""enrolment: keys that let gateways in, and who came by them

Two new tables; nothing that is there is touched.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "enroll_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("circuit_classes", sa.Text(), nullable=False),
        sa.Column("ephemeral", sa.Boolean(), nullable=False),
        sa.Column("gone_seconds", sa.Integer(), nullable=False),
        sa.Column("approve", sa.Boolean(), nullable=False),
        sa.Column("token_seconds", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.CheckConstraint("role IN ('spoke', 'hub')", name=op.f("ck_enroll_keys_role")),
        sa.CheckConstraint("used >= 0 AND used <= uses", name=op.f("ck_enroll_keys_used")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enroll_keys")),
    )
    op.create_table(
        "enrolments",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("token_seconds", sa.Integer(), nullable=False),
        sa.Column("came_from", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("approved_at", sa.Double(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("ephemeral", sa.Boolean(), nullable=False),
        sa.Column("gone_seconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("token_id", name=op.f("uq_enrolments_token_id")),
    )


def downgrade() -> None:
    op.drop_table("enrolments")
    op.drop_table("enroll_keys")
