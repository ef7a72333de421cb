"""Tables of enrolment: keys that let gateways in, and who came by them. They stand beside the inventory.

The inventory is what is approved: a gateway that waits for approval is a row here and nowhere else. Times are Unix
seconds. What is over is deleted by controller.enrolling after a while, so both tables are bounded.
"""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Double, Integer, Table, Text

from controller.store.tables import metadata

__all__ = ["enroll_keys", "enrolments", "metadata"]

enroll_keys = Table(
    "enroll_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("gateway", Text),  # Declared: the key is its own. NULL: who comes by it is a new one of the site.
    Column("circuit_classes", Text, nullable=False),  # JSON list: of the first uplink, the second, ...
    Column("ephemeral", Boolean, nullable=False),
    Column("gone_seconds", Integer, nullable=False),
    Column("approve", Boolean, nullable=False),
    Column("token_seconds", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("used", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("revoked_at", Double),
    CheckConstraint("role IN ('spoke', 'hub')", name="role"),
    CheckConstraint("used >= 0 AND used <= uses", name="used"),
)

enrolments = Table(
    "enrolments",
    metadata,
    # No foreign key: until it is approved there is no such gateway.
    Column("gateway", Text, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON: the gateway as in the document, as it asked to be.
    Column("token_id", Text, nullable=False, unique=True),
    Column("token_sha256", Text, nullable=False),
    Column("token_seconds", Integer, nullable=False),
    Column("came_from", Text, nullable=False),  # Address in the underlay, for the operator's eyes.
    Column("requested_at", Double, nullable=False),
    Column("approved_at", Double),
    Column("approved_by", Text),
    Column("ephemeral", Boolean, nullable=False),
    Column("gone_seconds", Integer, nullable=False),
)
