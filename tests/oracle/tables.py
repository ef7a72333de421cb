"""The oracle: what every kernel and every client's table must be, from an inventory and what is announced.

Written from RFC 1997, 4271, 4456, 7911, 7947, 7999 and 8326 and from what the documentation says that rules mean, with
nothing of the product imported. It loops over everything: clear before fast.

Left out: weights, extended communities, and the large communities 6 and 7 that depend on liveness. Of what a site sends
beyond `max_prefixes` it depends on the order of arrival which prefixes stay, so worlds for this oracle stay below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network

from tests.oracle import decision, rules
from tests.oracle.reading import Member, allocations, anycast, inside, members, origin_communities
from tests.oracle.rules import BLACKHOLE, GRACEFUL_SHUTDOWN, LARGEST, NO_ADVERTISE, NO_EXPORT, Path
from tests.oracle.words import Expected, Tiers, Told, World


def expected(world: World) -> Expected:
    everybody = [member for member in members(world.document) if member.name not in world.down]
    hubs = [member for member in everybody if member.role == "hub"]
    accepted = {member.name: from_client(world, member) for member in everybody if member.role != "hub"}
    views: dict[tuple[str, str], list[Path]] = {}  # (hub, site of the viewer) -> what it sees there
    for hub in hubs:
        paths = at_hub(world, hub, hubs, accepted)
        for site in {member.site for member in everybody}:
            views[hub.name, site.name] = rules.viewed(world.document, site, paths)
    kernels: dict[str, dict[str, Tiers]] = {}
    tables: dict[str, dict[str, frozenset[Told]]] = {}
    for member in everybody:
        if member.role == "hub":
            kernels[member.name] = routes(world, member, views[member.name, member.site.name])
            continue
        told = {
            hub.name: told_by(world, hub, member, views[hub.name, member.site.name])
            for hub in hubs
            if (member.name, hub.name) not in world.cut
        }
        if member.role == "client":
            tables[member.name] = {hub: frozenset(table(world, member, paths)) for hub, paths in told.items()}
        else:
            kernels[member.name] = routes(world, member, [path for paths in told.values() for path in paths])
    return Expected(kernels, tables)


# What a hub holds


def at_hub(world: World, hub: Member, hubs: list[Member], accepted: dict[str, list[Path]]) -> list[Path]:
    """All paths that are not refused: its own, its clients', and what other hubs tell of theirs."""
    found = of_hub(world, hub) + of_clients(world, hub, accepted)
    for other in hubs:
        if other != hub:
            theirs = of_hub(world, other)
            theirs += [path._replace(clusters=1) for path in of_clients(world, other, accepted)]
            theirs = one_an_uplink([path for path in theirs if NO_ADVERTISE not in path.communities])
            found += [p._replace(kind="peer", teller=other.router_id, path_id=p.uplink.number) for p in theirs]
    return found


def of_hub(world: World, hub: Member) -> list[Path]:
    """What it announces itself, and its rules let it tell."""
    ruled = [rules.imported(world.document, path) for path in own_paths(world, hub)]
    return [path for path in ruled if path is not None]


def of_clients(world: World, hub: Member, accepted: dict[str, list[Path]]) -> list[Path]:
    return [path for name, paths in accepted.items() if (name, hub.name) not in world.cut for path in paths]


def own_paths(world: World, gateway: Member) -> list[Path]:
    """What it announces itself: each prefix over each uplink that has an address of the family.

    Of what it learnt from routers in its LAN, the attributes stay as they are.
    """
    asn = world.document["fabric"]["asn"]
    found = []
    for each in world.announced.get(gateway.name, ()):
        for uplink in gateway.uplinks:
            next_hop = uplink.addresses.get(version(each.prefix))
            if next_hop is None or not carried(world, each.prefix):
                continue
            communities = of_others(asn, each.communities) | origin_communities(asn, gateway.site, uplink)
            if gateway.drained:
                communities |= {GRACEFUL_SHUTDOWN}
            found.append(
                Path(
                    prefix=each.prefix,
                    member=gateway,
                    uplink=uplink,
                    next_hop=next_hop,
                    local_pref=0 if GRACEFUL_SHUTDOWN in communities else uplink.preference,
                    as_path=each.as_path,
                    origin=each.origin,
                    med=each.med,
                    communities=communities,
                    kind="local",
                    path_id=uplink.number,
                )
            )
    return found


def from_client(world: World, client: Member) -> list[Path]:
    """What a hub makes of what this spoke or foreign router announces. What it refuses is not there."""
    if client.role != "client":
        sent = [path._replace(kind="client", teller=client.router_id) for path in own_paths(world, client)]
    else:
        sent = list(from_stranger(world, client))
    accepted = [rules.imported(world.document, path) for path in sent if allowed(world, client, path)]
    return [path for path in accepted if path is not None]


def from_stranger(world: World, client: Member) -> Iterator[Path]:
    """A router that is not ours says what it likes. Loops and next hops of others are refused."""
    asn = world.document["fabric"]["asn"]
    (uplink,) = client.uplinks
    for each in world.announced.get(client.name, ()):
        own_address = uplink.addresses.get(version(each.prefix))
        if own_address is None or not carried(world, each.prefix):
            continue
        if each.next_hop and ip_address(each.next_hop) != ip_address(own_address):
            continue
        if asn in each.as_path or each.originator_id:
            continue
        if client.asn != asn and each.as_path[:1] != (client.asn,):  # RFC 4271 6.3
            continue
        communities = of_others(asn, each.communities)
        shuts_down = GRACEFUL_SHUTDOWN in communities
        yield Path(
            prefix=each.prefix,
            member=client,
            uplink=uplink,
            next_hop=own_address,
            local_pref=0 if shuts_down else uplink.preference,
            as_path=each.as_path,
            origin=each.origin,
            med=each.med,
            communities=communities | origin_communities(asn, client.site, uplink),
            teller=client.router_id,
            path_id=each.path_id,
        )


def of_others(asn: int, communities: frozenset[str]) -> frozenset[str]:
    """Without the fabric's own large ones, which hubs alone set."""
    return frozenset(text for text in communities if text.count(":") == 1 or not text.startswith(f"{asn}:"))


def allowed(world: World, client: Member, path: Path) -> bool:
    """Origin owns the prefix; the underlay is nobody's, and what is around it has to be allocated as it is.

    So has a default route, which is a route and no space. A part of what is anycast is no site's to end for the others.
    """
    fabric = world.document["fabric"]
    spaces = dict(allocations(world.document, client.site.name))
    length = ip_network(path.prefix).prefixlen
    if length == 0:
        return path.prefix in spaces
    for underlay in fabric.get("underlay", ()):
        if inside(path.prefix, underlay) or (inside(underlay, path.prefix) and path.prefix not in spaces):
            return False
    blackhole = fabric.get("blackhole") and BLACKHOLE in path.communities
    shared = anycast(world.document)
    return any(
        inside(path.prefix, space) and ((blackhole and space not in shared) or length <= longest)
        for space, longest in spaces.items()
        if ip_network(space).prefixlen
    )


def carried(world: World, prefix: str) -> bool:
    return version(prefix) == 4 or bool(world.document["fabric"].get("segment6"))


def version(prefix: str) -> int:
    return ip_network(prefix).version


# What a hub tells


def told_by(world: World, hub: Member, viewer: Member, view: list[Path]) -> list[Path]:
    """What `hub` tells its client `viewer` of its view: RFC 4456 towards iBGP, RFC 7947 towards eBGP."""
    ebgp = viewer.asn != world.document["fabric"]["asn"]
    secret = {NO_ADVERTISE, NO_EXPORT} if ebgp else {NO_ADVERTISE}
    seen = [path for path in view if not path.communities & secret and not (ebgp and path.member == viewer)]
    if viewer.name in world.without_add_path:
        chosen = [decision.best(of_prefix) for of_prefix in grouped(seen, lambda path: path.prefix)]
    else:
        chosen = one_an_uplink(seen)
    told = []
    for path in chosen:
        clusters = path.clusters if path.kind == "local" else path.clusters + 1
        path_id = 0 if viewer.name in world.without_add_path else path.uplink.number
        told.append(path._replace(kind="hub", teller=hub.router_id, clusters=clusters, path_id=path_id))
    return told


def one_an_uplink(paths: list[Path]) -> list[Path]:
    """Per prefix and uplink the best of those that came the shortest way: own, then a client's, then another hub's."""
    found = []
    for same in grouped(paths, lambda path: (path.prefix, path.uplink.number)):
        for kind in ("local", "client", "peer"):
            of_kind = [path for path in same if path.kind == kind]
            if of_kind:
                found.append(decision.best(of_kind))
                break
    return found


def grouped(paths: list[Path], by: Callable[[Path], object]) -> list[list[Path]]:
    groups: dict[object, list[Path]] = {}
    for path in paths:
        groups.setdefault(by(path), []).append(path)
    return list(groups.values())


# What others make of it


def routes(world: World, gateway: Member, paths: list[Path]) -> dict[str, Tiers]:
    """The kernel of a gateway that holds `paths` beside its own prefixes, which are not routed here."""
    fabric = world.document["fabric"]
    own = {path.prefix for path in own_paths(world, gateway)}
    found = {}
    for candidates in grouped([path for path in paths if path.member != gateway], lambda path: path.prefix):
        prefix = candidates[0].prefix
        if prefix in own or any(inside(prefix, lan) for lan in world.connected.get(gateway.name, ())):
            continue
        found[prefix] = decision.kernel(
            candidates, fabric["asn"], fabric.get("max_paths", 16), bool(fabric.get("blackhole"))
        )
    return found


def table(world: World, client: Member, paths: list[Path]) -> Iterator[Told]:
    """What a router that is not ours keeps of what a hub told it: loops are dropped (RFC 4456 8, RFC 4271 9.1.2)."""
    asn = world.document["fabric"]["asn"]
    for path in paths:
        if client.asn == asn:
            if path.member == client:
                continue
            local_pref, med, as_path = path.local_pref, path.med, path.as_path
        else:
            local_pref = None
            med = path.med if path.med_by_rule else LARGEST - path.local_pref
            as_path = path.as_path
            if path.member.role != "client" or path.member.asn == asn:  # It leaves the AS here (RFC 4271 5.1.2).
                as_path = (asn,) * (1 + rules.most(path.prepend)) + as_path
            if client.asn in as_path:
                continue
        yield Told(path.prefix, path.path_id, path.next_hop, local_pref, med, as_path, path.origin, path.communities)
