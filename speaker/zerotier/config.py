"""local.conf of a ZeroTier service: what Leyline adds, beside what the operator has there. `merged` is pure.

Read from ZeroTier One 1.14, service/OneService.cpp: the service reads the file again within 10 s of a change (but for
what `speaker.agent.local_conf` says), and exits on one that is no JSON; interfaces are matched by the beginning of
their name; `physical` is keyed by prefix, and `blacklist` there holds for its own addresses and for its peers'. Keys
that it does not know it passes over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from pathlib import Path
from typing import Any

from speaker.rib.spans import Network
from speaker.zerotier.files import replace_file

OURS = "leyline"
"""Top-level key that says what of the rest we have put there: so it can go again, and nothing else ever does."""
INTERFACES, PHYSICAL = "interfacePrefixBlacklist", "physical"
MAX_PHYSICAL, MAX_PATHS = 24, 32
"""At most so many are ours, and so many entries may stand there where the operator has set something for a path.

It blacklists any number, but of all entries it keeps only the first 32 (ZT_MAX_CONFIGURABLE_PATHS) for their
`trustedPathId` and `mtu`, by family, length and address (node/Topology.hpp, node/InetAddress.cpp), and drops the rest
in silence: ours are wide, so they would push the operator's out.
"""
MAX_INTERFACES = 64
MAX_BYTES = 1 << 20
NEVER_BOUND = ("lo", "zt", "tun", "tap")
"""ZeroTier keeps out of such interfaces by itself."""


class ConfigUnreadable(Exception):
    """The file is not what the service would read. It is left as it is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What ZeroTier is to keep out of."""

    interfaces: tuple[str, ...] = ()  # LANs, and the segment's own.
    spared: tuple[str, ...] = ()  # Other interfaces of this box: its way out. No prefix of theirs may be listed.
    space: tuple[Network, ...] = ()  # What is reached through the segment.
    underlay: tuple[Network, ...] = ()  # What ZeroTier itself runs over: never listed, though inside `space`.


@dataclass(frozen=True, slots=True)
class Merged:
    text: str  # The file as it should be.
    changed: bool
    problems: tuple[str, ...]  # What could not be said there, and the way out.


def merged(text: str, wanted: Wanted) -> Merged:
    """`text` with what is `wanted` in it, and without what we wanted once. "" is a file that is not there.

    What the operator has written stays, and wins where the two speak of one thing. Raises ConfigUnreadable.
    """
    try:
        return _merged(text, wanted)
    except RecursionError:
        raise ConfigUnreadable("local.conf is nested too deeply to be read: repair it") from None


def _merged(text: str, wanted: Wanted) -> Merged:
    document = _document(text)
    before = json.dumps(document)
    problems: list[str] = []
    former = document.pop(OURS, None)
    former = former if isinstance(former, dict) else {}
    interfaces = _interfaces(document, former, wanted, problems)
    physical = _physical(document, former, wanted, problems)
    if interfaces or physical:
        document[OURS] = {INTERFACES: interfaces, PHYSICAL: physical}
    changed = json.dumps(document) != before
    return Merged(json.dumps(document, indent=2) + "\n" if changed else text, changed, tuple(problems))


def _document(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigUnreadable(f"local.conf is no JSON ({error}): the service would end on it; repair it") from None
    if not isinstance(document, dict):
        raise ConfigUnreadable("local.conf is no JSON object: the service would end on it; repair it")
    return document


def _interfaces(document: dict[str, Any], former: dict[str, Any], wanted: Wanted, problems: list[str]) -> list[str]:
    """Names that we have put there."""
    names: list[str] = []
    for name in sorted(set(wanted.interfaces)):
        if name.startswith(NEVER_BOUND):
            continue
        caught = [other for other in wanted.spared if other.startswith(name)]
        if caught:
            problems.append(
                f"{name} cannot be kept from ZeroTier, which would keep out of {caught[0]} as well: rename one of them"
            )
        else:
            names.append(name)
    if len(names) > MAX_INTERFACES:
        problems.append(f"{len(names)} interfaces are to be kept from ZeroTier; the first {MAX_INTERFACES} are")
        del names[MAX_INTERFACES:]
    settings = _part(document, "settings")
    listed = _strings(settings.get(INTERFACES))
    theirs = [name for name in listed if name not in _strings(former.get(INTERFACES))]
    ours = [name for name in names if name not in theirs]
    if theirs or ours:
        settings[INTERFACES] = [*theirs, *ours]
    elif INTERFACES in settings and listed:
        del settings[INTERFACES]
    _keep_part(document, "settings", settings, emptied=bool(_strings(former.get(INTERFACES))))
    return ours


def _physical(document: dict[str, Any], former: dict[str, Any], wanted: Wanted, problems: list[str]) -> list[str]:
    """Prefixes that we have put there."""
    paths = _part(document, PHYSICAL)
    for prefix in _strings(former.get(PHYSICAL)):
        if paths.get(prefix) == {"blacklist": True}:
            del paths[prefix]
    prefixes = [str(network) for network in without(wanted.space, wanted.underlay)]
    if len(prefixes) > (room := _room(paths)):
        problems.append(
            f"{len(prefixes)} prefixes are to be kept from ZeroTier, which has room for some: the "
            f"{room} widest are; give sites allocations that make larger blocks"
            + (f", or take entries out of the {len(paths)} in `physical` that are yours" if room < MAX_PHYSICAL else "")
        )
        prefixes = sorted(prefixes, key=lambda each: (ip_network(each).prefixlen, each))[:room]
    ours = []
    for prefix in prefixes:
        if prefix not in paths:
            paths[prefix] = {"blacklist": True}
            ours.append(prefix)
        elif not (isinstance(paths[prefix], dict) and paths[prefix].get("blacklist") is True):
            problems.append(f'{prefix} stands in local.conf with other settings: add "blacklist": true to them')
    _keep_part(document, PHYSICAL, paths, emptied=bool(_strings(former.get(PHYSICAL))))
    return ours


def _room(theirs: dict[str, Any]) -> int:
    """How many of ours can stand beside `theirs`."""
    set_for_paths = any(
        isinstance(said, dict) and (said.get("trustedPathId") or said.get("mtu")) for said in theirs.values()
    )
    return min(MAX_PHYSICAL, max(0, MAX_PATHS - len(theirs))) if set_for_paths else MAX_PHYSICAL


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Raises ConfigUnreadable where the operator has something that ZeroTier would pass over."""
    part = document.get(name, {})
    if not isinstance(part, dict):
        raise ConfigUnreadable(f"{name} in local.conf is no object: ZeroTier passes it over; repair it")
    return dict(part)


def _keep_part(document: dict[str, Any], name: str, part: dict[str, Any], *, emptied: bool) -> None:
    """An empty one that was not there is not made, and one that we have `emptied` goes."""
    if part or (name in document and not emptied):
        document[name] = part
    else:
        document.pop(name, None)


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def without(space: Iterable[Network], holes: Iterable[Network]) -> list[Network]:
    """`space` in as few prefixes as it takes, `holes` cut out; IPv4 first."""
    found: list[Network] = []
    holes = list(holes)
    for kind in (IPv4Network, IPv6Network):
        left: list[Any] = [each for each in space if isinstance(each, kind)]
        for hole in holes:
            if isinstance(hole, kind):
                left = [part for each in left for part in _cut(each, hole)]
        found += collapse_addresses(left)
    return found


def _cut(network: Any, hole: Any) -> Sequence[Any]:
    if not network.overlaps(hole):
        return (network,)
    return () if network.subnet_of(hole) else tuple(network.address_exclude(hole))


# The file


def read(path: Path) -> str:
    """ "" when there is none. Raises ConfigUnreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigUnreadable(f"{path} is longer than {MAX_BYTES >> 20} MiB: what is that?")
        return data.decode()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigUnreadable(f"{path} cannot be read: {error}") from None


def write(path: Path, text: str) -> None:
    """Whole or not at all. Raises OSError."""
    replace_file(path, text.encode(), 0o644)


def in_force(config: Any, text: str) -> bool:
    """Whether the service keeps out of what `text` says and of nothing else; `config`: of `GET /status`, which echoes
    the file as it was read last."""
    if not isinstance(config, dict):
        return False
    document = _document(text)
    return _kept_from(config) == _kept_from(document)


def _kept_from(document: dict[str, Any]) -> tuple[set[str], set[str]]:
    settings, paths = document.get("settings"), document.get(PHYSICAL)
    names = settings.get(INTERFACES) if isinstance(settings, dict) else None
    known = paths.items() if isinstance(paths, dict) else ()
    return set(_strings(names)), {
        prefix for prefix, said in known if isinstance(said, dict) and said.get("blacklist") is True
    }


def overlaid(listening: Collection[str], forbidden: Iterable[Network]) -> list[str]:
    """Addresses that a service listens on ("ADDRESS/PORT") though ZeroTier would run over its own overlay there."""
    space = list(forbidden)
    found = []
    for text in listening:
        try:
            network = ip_network(text.rpartition("/")[0])
        except ValueError:
            continue
        if any(network.version == each.version and network.overlaps(each) for each in space):
            found.append(text)
    return sorted(found)
