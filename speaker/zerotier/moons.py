"""Moons: made on the gateway that is to be one, orbited by the others. Every call may be repeated.

A moon's world is signed with a key of its own, which stays in the home of the service that is its root
(`leyline-moon.json`, 0600): who has it can tell all who orbit where the root is. The service takes a world from
`moons.d` when it is told to orbit it, so nothing has to be restarted (node/Topology.cpp, `addMoon`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speaker.plan import MoonPlan
from speaker.zerotier.files import replace_file
from speaker.zerotier.local import LocalService

IDTOOL = "zerotier-idtool"
IDTOOL_SECONDS = 30.0
DEFINITION = "leyline-moon.json"
MAX_DEFINITION = 1 << 16


class MoonError(Exception):
    """The moon was not made. The text says why, and the way out."""


def make(service: LocalService, endpoints: Sequence[str], idtool: str = IDTOOL) -> str:
    """This service is the root of a moon that is reached at `endpoints` ("ADDRESS/PORT"); its world's id.

    Raises MoonError and LocalError. A moon that somebody else has made of it is left alone.
    """
    status = service.status()
    world = status.node_id.rjust(16, "0")
    wanted = tuple(sorted(endpoints))
    standing = service.moons().get(world)
    definition = _read(service.home / DEFINITION)
    file = service.home / "moons.d" / f"{world}.moon"
    if definition is None and (standing is not None or file.exists()):
        raise MoonError(
            f"{service.home}: node {status.node_id} is a moon already, which somebody else made: "
            f"remove {file} and restart zerotier-one, or leave it out of the inventory"
        )
    if standing is not None and standing.endpoints == wanted:
        return world
    if definition is None or not _is_of(definition, status.node_id):
        definition = _initmoon(idtool, status.identity)
    definition["roots"][0]["stableEndpoints"] = list(wanted)
    # First the key: a world that nobody can change any more would be worse than none.
    _write(service.home / DEFINITION, json.dumps(definition, indent=1).encode(), 0o600)
    signed = _genmoon(idtool, service.home / DEFINITION, world)
    if standing is not None:
        service.deorbit(world)  # The service keeps the world that it has; its file goes with it.
    file.parent.mkdir(mode=0o755, exist_ok=True)
    _write(file, signed, 0o644)
    service.orbit(world, status.node_id)
    if service.moons().get(world) is None:
        raise MoonError(f"{service.home}: the service did not take {file}: restart zerotier-one")
    return world


def unmake(service: LocalService) -> None:
    """No root any more. The key stays, so that it can be one again. Raises LocalError."""
    if not (service.home / DEFINITION).exists():
        return
    world = service.status().node_id.rjust(16, "0")
    if world in service.moons():
        service.deorbit(world)


@dataclass(slots=True)
class Orbited:
    """`ours`: worlds that this service orbits because we said so; only such are ever let go."""

    ours: frozenset[str]
    problems: list[str] = field(default_factory=list)


def orbit(
    service: LocalService,
    wanted: Iterable[MoonPlan],
    ours: Collection[str],
    note: Callable[[frozenset[str]], None] = lambda _: None,
) -> Orbited:
    """Orbit what is `wanted`, and let go what was and is `ours` and no longer wanted.

    `note` is told what may be ours before the service is asked: what nobody remembers would never be let go. Raises
    LocalError, and what `note` raises.
    """
    standing = service.moons()
    moons = {moon.world: moon for moon in wanted if moon.world and moon.seed}
    kept = {world for world in moons if world not in standing or world in ours}  # Else the operator has it orbited.
    over = set(ours) - moons.keys()
    note(frozenset(kept | over))
    found = Orbited(frozenset(kept))
    for world in sorted(kept - standing.keys()):
        if service.orbit(world, moons[world].seed).waiting:
            name, seed = moons[world].name, moons[world].seed
            found.problems.append(f"moon {name}: its definition has not come yet from {seed}: does it run?")
    for world in sorted(over):
        service.deorbit(world)
    return found


def _is_of(definition: dict[str, Any], node_id: str) -> bool:
    """A home may have got another identity since."""
    roots = definition.get("roots")
    return (
        definition.get("id") == node_id
        and bool(definition.get("signingKey_SECRET"))
        and isinstance(roots, list)
        and len(roots) == 1
        and isinstance(roots[0], dict)
    )


def _initmoon(idtool: str, identity: str) -> dict[str, Any]:
    try:
        definition = json.loads(_run(idtool, "initmoon", identity))
        definition["roots"][0]["identity"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise MoonError(f"{idtool} initmoon printed no definition of a moon") from None
    return dict(definition)


def _genmoon(idtool: str, definition: Path, world: str) -> bytes:
    """The signed world; zerotier-idtool writes it into its working directory."""
    with tempfile.TemporaryDirectory(prefix="leyline-moon-") as place:
        said = _run(idtool, "genmoon", str(definition), cwd=place)
        made = Path(place) / f"{world}.moon"
        if not made.exists():
            raise MoonError(f"{idtool} genmoon made no {made.name}: {said.strip()[:200]}")
        return made.read_bytes()


def _run(idtool: str, *arguments: str, cwd: str | None = None) -> str:
    path = shutil.which(idtool) or shutil.which(idtool, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise MoonError(f"{idtool} is not installed: it comes with zerotier-one")
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=IDTOOL_SECONDS, check=False, cwd=cwd
        )
    except subprocess.TimeoutExpired:
        raise MoonError(f"{idtool} {arguments[0]} took longer than {IDTOOL_SECONDS:.0f} s") from None
    except OSError as error:
        raise MoonError(f"{path}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()[0]
        raise MoonError(f"{idtool} {arguments[0]}: {said}")
    return done.stdout


def _read(path: Path) -> dict[str, Any] | None:
    """None when there is none. Raises MoonError: the key in it may be the only one."""
    try:
        found = json.loads(path.read_bytes()[:MAX_DEFINITION])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MoonError(f"{path} cannot be read ({error}): repair or remove it; then another moon is made") from None
    if not isinstance(found, dict):
        raise MoonError(f"{path} holds no moon: remove it; then another one is made")
    return found


def _write(path: Path, data: bytes, mode: int) -> None:
    """Raises MoonError."""
    try:
        replace_file(path, data, mode)
    except OSError as error:
        raise MoonError(f"{path} cannot be written: {error.strerror}") from None
