"""members put out: when, so that their records can be deleted later

A column is added that may be null, so rows stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("segment_owned", sa.Column("left_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("segment_owned", "left_at")
