"""first release

Migrations stand alone: no import of controller, whose code moves on while this file does not.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("audit", "revisions")
VERBS = ("update", "delete")


def upgrade() -> None:
    op.create_table(
        "attachments",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("address6", sa.Text(), nullable=True),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("circuit_class", sa.Text(), nullable=False),
        sa.Column("preference", sa.BigInteger(), nullable=True),
        sa.Column("bandwidth", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_attachments_number")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_attachments")),
        sa.UniqueConstraint("address", name=op.f("uq_attachments_address")),
        sa.UniqueConstraint("address6", name=op.f("uq_attachments_address6")),
        sa.UniqueConstraint("node_id", name=op.f("uq_attachments_node_id")),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "circuit_classes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("preference", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_circuit_classes")),
    )
    op.create_table(
        "fabric",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("asn", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("segment6", sa.Text(), nullable=True),
        sa.Column("hold_time", sa.Integer(), nullable=False),
        sa.Column("restart_time", sa.Integer(), nullable=False),
        sa.Column("max_paths", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_fabric_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fabric")),
    )
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_head_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_head")),
    )
    op.create_table(
        "regions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_regions")),
    )
    op.create_table(
        "revisions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_revisions")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.CheckConstraint("(role = 'gateway') = (gateway IS NOT NULL)", name=op.f("ck_tokens_gateway")),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin', 'gateway')", name=op.f("ck_tokens_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_gateway"), "tokens", ["gateway"], unique=False)

    op.create_table(
        "sites",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["region"], ["regions.name"], name=op.f("fk_sites_region"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sites")),
        sa.UniqueConstraint("number", name=op.f("uq_sites_number")),
    )
    op.create_table(
        "allocations",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("longest", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site"], ["sites.name"], name=op.f("fk_allocations_site"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("site", "tenant", "prefix", name=op.f("pk_allocations")),
        sa.UniqueConstraint("tenant", "prefix", name=op.f("uq_allocations_tenant_prefix")),
    )
    op.create_table(
        "clients",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["attachments.number"], name=op.f("fk_clients_number"), initially="DEFERRED", deferrable=True
        ),
        sa.ForeignKeyConstraint(
            ["site"], ["sites.name"], name=op.f("fk_clients_site"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clients")),
        sa.UniqueConstraint("number", name=op.f("uq_clients_number")),
    )
    op.create_table(
        "gateways",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.CheckConstraint("role IN ('spoke', 'hub')", name=op.f("ck_gateways_role")),
        sa.ForeignKeyConstraint(
            ["site"], ["sites.name"], name=op.f("fk_gateways_site"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gateways")),
    )
    op.create_table(
        "prefixes",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["site"], ["sites.name"], name=op.f("fk_prefixes_site"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("site", "tenant", "prefix", name=op.f("pk_prefixes")),
    )
    op.create_table(
        "plans",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_plans_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_plans")),
    )
    op.create_table(
        "prefix_gateways",
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"],
            ["gateways.name"],
            name=op.f("fk_prefix_gateways_gateway"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.ForeignKeyConstraint(
            ["site", "tenant", "prefix"],
            ["prefixes.site", "prefixes.tenant", "prefixes.prefix"],
            name=op.f("fk_prefix_gateways_site_tenant_prefix"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("site", "tenant", "prefix", "gateway", name=op.f("pk_prefix_gateways")),
    )
    op.create_table(
        "reports",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_reports_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("gateway", name=op.f("pk_reports")),
    )
    op.create_table(
        "uplinks",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("interface", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_uplinks_gateway"), initially="DEFERRED", deferrable=True
        ),
        sa.ForeignKeyConstraint(
            ["number"], ["attachments.number"], name=op.f("fk_uplinks_number"), initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("gateway", "name", name=op.f("pk_uplinks")),
        sa.UniqueConstraint("gateway", "position", name=op.f("uq_uplinks_gateway_position")),
        sa.UniqueConstraint("number", name=op.f("uq_uplinks_number")),
    )
    op.execute("INSERT INTO head (id, revision, digest) VALUES (1, 0, '')")
    for table in APPEND_ONLY:
        _make_append_only(table)


def downgrade() -> None:
    for table in APPEND_ONLY:
        for verb in VERBS:
            on = f" ON {table}" if _is_postgres() else ""
            op.execute(f"DROP TRIGGER {table}_no_{verb}{on}")
    if _is_postgres():
        op.execute("DROP FUNCTION leyline_append_only()")
    op.drop_table("uplinks")
    op.drop_table("reports")
    op.drop_table("prefix_gateways")
    op.drop_table("plans")
    op.drop_table("prefixes")
    op.drop_table("gateways")
    op.drop_table("clients")
    op.drop_table("allocations")
    op.drop_table("sites")
    op.drop_index(op.f("ix_tokens_gateway"), "tokens")

    op.drop_table("tokens")
    op.drop_table("revisions")
    op.drop_table("regions")
    op.drop_table("head")
    op.drop_table("fabric")
    op.drop_table("circuit_classes")
    op.drop_table("audit")
    op.drop_table("attachments")


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _make_append_only(table: str) -> None:
    """What was written is history: the database itself refuses to change it, whoever asks."""
    if _is_postgres():
        op.execute("""
            CREATE OR REPLACE FUNCTION leyline_append_only() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME; END $$
        """)
    for verb in VERBS:
        if _is_postgres():
            then = "FOR EACH ROW EXECUTE FUNCTION leyline_append_only()"
        else:
            then = f"BEGIN SELECT RAISE(ABORT, 'table {table} is append-only'); END"
        op.execute(f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} {then}")
