"""The tables: one per noun of the inventory, and what the controller remembers besides.

Names are keys, as they are for operators. Foreign keys are checked at the end of the
transaction, so a changed row may be taken out and put back. Constraints refuse what
`controller.inventory.checks` refuses wherever SQL can say it: they are the second lock on
the door, and two controllers on one database cannot slip past each other.

Times are Unix seconds. A change here needs a migration: tests/controller/migrations compares.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _refers_to(target: str) -> Any:
    return ForeignKey(target, deferrable=True, initially="DEFERRED")


fabric = Table(
    "fabric",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("asn", BigInteger, nullable=False),
    Column("segment", Text, nullable=False),
    Column("segment6", Text),
    Column("hold_time", Integer, nullable=False),
    Column("restart_time", Integer, nullable=False),
    Column("max_paths", Integer, nullable=False),
    # Their defaults are those of the step that added them: what rows from before it have.
    Column("bfd_up_delay_ms", Integer, nullable=False, server_default="2000"),
    Column("bfd_hold_max_ms", Integer, nullable=False, server_default="60000"),
    Column("bfd_idle_seconds", Integer, nullable=False, server_default="300"),
    Column("bfd_max_sessions", Integer, nullable=False, server_default="256"),
    Column("hubless_seconds", Integer, nullable=False, server_default="86400"),
    Column("vrrp_advert_ms", Integer, nullable=False, server_default="1000"),
    Column("guard_default", Boolean, nullable=False, server_default=true()),
    Column("blackhole", Boolean, nullable=False, server_default=false()),
    Column("underlay", Text, nullable=False, server_default="[]"),  # JSON list
    Column("network", Text, nullable=False, server_default=text("''")),
    Column("mtu", Integer, nullable=False, server_default="1280"),
    Column("segment_rules", Text, nullable=False, server_default="checked"),
    Column("managed_floor", Boolean, nullable=False, server_default=false()),
    Column("permanent_neighbours", Boolean, nullable=False, server_default=true()),
    Column("mss_clamp", Boolean, nullable=False, server_default=true()),
    Column("relayed_seconds", Integer, nullable=False, server_default="0"),
    Column("relayed_preference", BigInteger, nullable=False, server_default="-50"),
    Column("md5", Boolean, nullable=False, server_default=false()),
    CheckConstraint("id = 1", name="one"),
)

regions = Table(
    "regions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("closed", Boolean, nullable=False, server_default=false()),
)

circuit_classes = Table(
    "circuit_classes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("preference", BigInteger, nullable=False),
    Column("bfd", Text),  # JSON: a preset's name, "off", or timers as in the document
)

sites = Table(
    "sites",
    metadata,
    Column("name", Text, primary_key=True),
    Column("region", Text, _refers_to("regions.name"), nullable=False),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("provider", Text, nullable=False),
    Column("tags", Text, nullable=False),  # JSON list
    Column("max_prefixes", BigInteger, nullable=False, server_default="0"),
)

allocations = Table(
    "allocations",
    metadata,
    Column("site", Text, _refers_to("sites.name"), primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("prefix", Text, primary_key=True),
    Column("longest", Integer, nullable=False),
    Column("anycast", Boolean, nullable=False, server_default=false()),
)
Index(
    "ix_allocations_tenant_prefix",
    allocations.c.tenant,
    allocations.c.prefix,
    unique=True,
    sqlite_where=text("NOT anycast"),
    postgresql_where=text("NOT anycast"),
)

gateways = Table(
    "gateways",
    metadata,
    Column("name", Text, primary_key=True),
    Column("site", Text, _refers_to("sites.name"), nullable=False),
    Column("role", Text, nullable=False),
    Column("drained", Boolean, nullable=False, server_default=false()),
    CheckConstraint("role IN ('spoke', 'hub')", name="role"),
)

prefixes = Table(
    "prefixes",
    metadata,
    Column("site", Text, _refers_to("sites.name"), primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("prefix", Text, primary_key=True),
    Column("first_hop", Text),
    Column("vrid", Integer),
    Column("probe", Text),  # JSON, as in the document
)

prefix_gateways = Table(
    "prefix_gateways",
    metadata,
    Column("site", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("prefix", Text, primary_key=True),
    Column("gateway", Text, _refers_to("gateways.name"), primary_key=True),
    ForeignKeyConstraint(
        ["site", "tenant", "prefix"],
        ["prefixes.site", "prefixes.tenant", "prefixes.prefix"],
        deferrable=True,
        initially="DEFERRED",
    ),
)

attachments = Table(
    "attachments",
    metadata,
    # Uplinks and clients share one space of numbers, addresses and node ids, so they share this table.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("address", Text, nullable=False, unique=True),
    Column("address6", Text, unique=True),
    Column("node_id", Text, unique=True),
    Column("circuit_class", Text, nullable=False),
    Column("preference", BigInteger),
    Column("bandwidth", BigInteger, nullable=False),
    CheckConstraint("number > 0", name="number"),
)

uplinks = Table(
    "uplinks",
    metadata,
    Column("gateway", Text, _refers_to("gateways.name"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("position", Integer, nullable=False),  # The first is the primary one.
    Column("interface", Text, nullable=False),
    Column("number", Integer, _refers_to("attachments.number"), nullable=False, unique=True),
    UniqueConstraint("gateway", "position"),
)

clients = Table(
    "clients",
    metadata,
    Column("name", Text, primary_key=True),
    Column("site", Text, _refers_to("sites.name"), nullable=False),
    Column("number", Integer, _refers_to("attachments.number"), nullable=False, unique=True),
    Column("asn", BigInteger),
)

lan_peers = Table(
    "lan_peers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("gateway", Text, _refers_to("gateways.name"), nullable=False),
    Column("asn", BigInteger, nullable=False),
    Column("interface", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("local_address", Text, nullable=False),
    UniqueConstraint("gateway", "address"),
)

rules = Table(
    "rules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("order", Integer, nullable=False),
    # JSON, as in the document: they are read whole, and what they refer to is for the checks.
    Column("match", Text, nullable=False),
    Column("viewer", Text),
    Column("action", Text, nullable=False),
)

assertions = Table(
    "assertions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sites", Text, nullable=False),  # JSON list
    Column("prefix", Text),
    Column("tenant", Text, nullable=False),
    Column("reaches", Boolean, nullable=False),
    Column("never_over", Text, nullable=False),  # JSON list
    Column("survives", Text, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("site", Text, _refers_to("sites.name")),
    Column("node_id", Text, nullable=False, unique=True),
    Column("address", Text, nullable=False, unique=True),
    Column("address6", Text, unique=True),
)

moons = Table(
    "moons",
    metadata,
    Column("name", Text, primary_key=True),
    Column("gateway", Text, _refers_to("gateways.name"), nullable=False),
    Column("uplink", Text, nullable=False),  # Empty: the first one.
    Column("endpoints", Text, nullable=False),  # JSON list
    UniqueConstraint("gateway", "uplink"),
)

INVENTORY = (
    fabric,
    regions,
    circuit_classes,
    sites,
    allocations,
    gateways,
    prefixes,
    prefix_gateways,
    attachments,
    uplinks,
    clients,
    lan_peers,
    rules,
    assertions,
    hosts,
    moons,
)
"""In the order in which rows go in; they come out in reverse."""

head = Table(
    "head",
    metadata,
    # One row. Whoever holds its lock makes the next revision; a sequence would leave gaps and races.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("document", LargeBinary, nullable=False),  # zlib over canonical JSON
)

plans = Table(
    "plans",
    metadata,
    Column("gateway", Text, _refers_to("gateways.name"), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("gateway", Text, _refers_to("gateways.name"), primary_key=True),
    Column("received_at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

md5_keys = Table(
    "md5_keys",
    metadata,
    # Of hubs, for the sessions that they wait for. Secrets: they leave in plans, and are in no document, log or answer.
    Column("gateway", Text, _refers_to("gateways.name"), primary_key=True),
    Column("secret", Text, nullable=False),  # Empty: it was taken away.
    Column("changed_at", Double, nullable=False),
)

segment_owned = Table(
    "segment_owned",
    metadata,
    # Whom the controller has let into a ZeroTier network, or was told to adopt; an empty node id is the network itself.
    Column("network", Text, primary_key=True),
    Column("node_id", Text, primary_key=True),
    Column("since", Double, nullable=False),
    Column("left_at", Double),  # When it was put out: it is not ours since, and its record is to be deleted.
)

segment_status = Table(
    "segment_status",
    metadata,
    # Of the last pass over a network, whichever controller made it.
    Column("network", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("settled_at", Double),
    Column("body", LargeBinary, nullable=False),  # JSON
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("gateway", Text, index=True),
    Column("note", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    CheckConstraint("role IN ('viewer', 'operator', 'admin', 'gateway')", name="role"),
    CheckConstraint("(role = 'gateway') = (gateway IS NOT NULL)", name="gateway"),
)

audit = Table(
    "audit",
    metadata,
    # Append-only: triggers refuse UPDATE and DELETE (see the migration).
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("revision", Integer),
    Column("detail", Text, nullable=False),
)
