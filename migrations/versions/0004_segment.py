"""segment: the ZeroTier network, members without BGP, moons

Columns are added with a default, so rows stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fabric", sa.Column("network", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("fabric", sa.Column("mtu", sa.Integer(), server_default="1280", nullable=False))
    op.add_column("fabric", sa.Column("segment_rules", sa.Text(), server_default="checked", nullable=False))
    op.add_column("fabric", sa.Column("managed_floor", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("fabric", sa.Column("permanent_neighbours", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("fabric", sa.Column("mss_clamp", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("fabric", sa.Column("relayed_seconds", sa.Integer(), server_default="0", nullable=False))
    op.add_column("fabric", sa.Column("relayed_preference", sa.BigInteger(), server_default="-50", nullable=False))
    op.create_table(
        "hosts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address6", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["site"], ["sites.name"], name=op.f("fk_hosts_site"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_hosts")),
        sa.UniqueConstraint("node_id", name=op.f("uq_hosts_node_id")),
        sa.UniqueConstraint("address", name=op.f("uq_hosts_address")),
        sa.UniqueConstraint("address6", name=op.f("uq_hosts_address6")),
    )
    op.create_table(
        "moons",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("uplink", sa.Text(), nullable=False),
        sa.Column("endpoints", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_moons_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_moons")),
        sa.UniqueConstraint("gateway", "uplink", name=op.f("uq_moons_gateway_uplink")),
    )
    op.create_table(
        "segment_owned",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("network", "node_id", name=op.f("pk_segment_owned")),
    )
    op.create_table(
        "segment_status",
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_segment_status")),
    )


def downgrade() -> None:
    for table in ("segment_status", "segment_owned", "moons", "hosts"):
        op.drop_table(table)
    for column in (
        "relayed_preference",
        "relayed_seconds",
        "mss_clamp",
        "permanent_neighbours",
        "managed_floor",
        "segment_rules",
        "mtu",
        "network",
    ):
        op.drop_column("fabric", column)
