"""keys of gateways: an enrolment key may be for one that is declared

A column is added that may be null, so rows stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("enroll_keys", sa.Column("gateway", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("enroll_keys", "gateway")
