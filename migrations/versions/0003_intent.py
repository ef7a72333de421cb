"""intent: rules, assertions, LAN peers, closed regions, anycast, guard rails

Columns are added with a default or null, so rows stay as they are. Only allocations are copied on SQLite: of two
sites the same one may be declared now, when both say that it is anycast.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("fabric", sa.Column("guard_default", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("fabric", sa.Column("blackhole", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("fabric", sa.Column("underlay", sa.Text(), server_default="[]", nullable=False))
    op.add_column("regions", sa.Column("closed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("sites", sa.Column("max_prefixes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("clients", sa.Column("asn", sa.BigInteger(), nullable=True))
    op.add_column("allocations", sa.Column("anycast", sa.Boolean(), server_default=sa.false(), nullable=False))
    with op.batch_alter_table("allocations") as allocations:
        allocations.drop_constraint("uq_allocations_tenant_prefix", type_="unique")
    op.create_index(
        "ix_allocations_tenant_prefix",
        "allocations",
        ["tenant", "prefix"],
        unique=True,
        sqlite_where=sa.text("NOT anycast"),
        postgresql_where=sa.text("NOT anycast"),
    )
    op.create_table(
        "lan_peers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("asn", sa.BigInteger(), nullable=False),
        sa.Column("interface", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("local_address", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_lan_peers_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lan_peers")),
        sa.UniqueConstraint("gateway", "address", name=op.f("uq_lan_peers_gateway_address")),
    )
    op.create_table(
        "rules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("order", sa.Integer(), nullable=False),
        sa.Column("match", sa.Text(), nullable=False),
        sa.Column("viewer", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rules")),
    )
    op.create_table(
        "assertions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sites", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=True),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("reaches", sa.Boolean(), nullable=False),
        sa.Column("never_over", sa.Text(), nullable=False),
        sa.Column("survives", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_assertions")),
    )


def downgrade() -> None:
    for table in ("assertions", "rules", "lan_peers"):
        op.drop_table(table)
    op.drop_index("ix_allocations_tenant_prefix", "allocations")
    with op.batch_alter_table("allocations") as allocations:
        allocations.create_unique_constraint("uq_allocations_tenant_prefix", ["tenant", "prefix"])
        allocations.drop_column("anycast")
    for table, column in (("clients", "asn"), ("sites", "max_prefixes"), ("regions", "closed")):
        op.drop_column(table, column)
    for column in ("underlay", "blackhole", "guard_default"):
        op.drop_column("fabric", column)
