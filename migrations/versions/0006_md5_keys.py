"""md5 keys: of hubs, for their sessions

A column is added with a default, so rows stay as they are, and a new table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fabric", sa.Column("md5", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "md5_keys",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_md5_keys_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_md5_keys")),
    )


def downgrade() -> None:
    op.drop_table("md5_keys")
    op.drop_column("fabric", "md5")
