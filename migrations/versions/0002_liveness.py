"""liveness: BFD timers, drain, first hops and probes

Only columns are added, each with a default or null, so rows stay as they are and no table is copied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FABRIC = {
    "bfd_up_delay_ms": "2000",
    "bfd_hold_max_ms": "60000",
    "bfd_idle_seconds": "300",
    "bfd_max_sessions": "256",
    "hubless_seconds": "86400",
    "vrrp_advert_ms": "1000",
}


def upgrade() -> None:
    for name, default in FABRIC.items():
        op.add_column("fabric", sa.Column(name, sa.Integer(), server_default=default, nullable=False))
    op.add_column("circuit_classes", sa.Column("bfd", sa.Text(), nullable=True))
    op.add_column("gateways", sa.Column("drained", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("prefixes", sa.Column("first_hop", sa.Text(), nullable=True))
    op.add_column("prefixes", sa.Column("vrid", sa.Integer(), nullable=True))
    op.add_column("prefixes", sa.Column("probe", sa.Text(), nullable=True))


def downgrade() -> None:
    for name in ("probe", "vrid", "first_hop"):
        op.drop_column("prefixes", name)
    op.drop_column("gateways", "drained")
    op.drop_column("circuit_classes", "bfd")
    for name in FABRIC:
        op.drop_column("fabric", name)
