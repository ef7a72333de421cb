"""plan -> ExaBGP configuration: sessions only. Routes never stand in it, so it changes only when sessions do."""

from __future__ import annotations

import hashlib
from pathlib import Path

from speaker.bgp import bridge
from speaker.bgp.exabgp.listen import listen_line
from speaker.plan import Plan, SessionPlan

BRIDGE = str(Path(bridge.__file__).resolve())
PROCESS = "leyline"


class Unrenderable(ValueError):
    """The plan has something that ExaBGP's configuration cannot say. The text names the session and the way out."""


def render(plan: Plan, socket_dir: str, python: str, bridge_file: str = BRIDGE) -> str:
    """The configuration for all sessions of `plan`, in the plan's order.

    Each session's description ends in a digest of everything else in its block: `description_of` gives it
    for comparison with what ExaBGP says is in force. Raises Unrenderable.
    """
    for path in (socket_dir, python, bridge_file):
        _no_quotes(path, "path")
    listening = listens(plan)
    lines = ["# Written by Leyline from the plan of this gateway; the next plan replaces it."]
    if listening is not None:
        lines.append(listen_line(listening))
    lines += [
        "",
        f"process {PROCESS} {{",
        f'    run "{python}" -I "{bridge_file}" "{socket_dir}";',
        "    encoder json;",
        "}",
    ]
    for session in plan.sessions:
        lines += ["", *_neighbor(plan, session)]
    return "\n".join(lines) + "\n"


def listens(plan: Plan) -> str | None:
    """The address to listen on: a hub's overlay address. A spoke, or a hub that only dials, listens nowhere."""
    passive = [session.local_address for session in plan.sessions if session.passive]
    if plan.role != "hub" or not passive:
        return None
    return passive[0]


def descriptions(plan: Plan) -> dict[str, str]:
    """Peer address -> description that the session has once this plan is in force."""
    return {session.peer_address: description_of(plan, session) for session in plan.sessions}


def description_of(plan: Plan, session: SessionPlan) -> str:
    digest = hashlib.sha256("\n".join(_body(plan, session)).encode()).hexdigest()[:16]
    return f"{_no_quotes(session.peer, f'session {session.peer!r}')} {digest}"


def _neighbor(plan: Plan, session: SessionPlan) -> list[str]:
    return [
        f"neighbor {session.peer_address} {{",
        f'    description "{description_of(plan, session)}";',
        *_body(plan, session),
        "}",
    ]


def _body(plan: Plan, session: SessionPlan) -> list[str]:
    """Everything that two configurations of a session can differ in."""
    lines = [
        f"    router-id {plan.router_id};",
        f"    local-address {session.local_address};",
        f"    local-as {plan.asn};",
        f"    peer-as {session.peer_asn};",
        f"    hold-time {session.hold_time};",
        f"    passive {_boolean(session.passive)};",
    ]
    device = _device(plan, session)
    if device:
        lines.append(f'    source-interface "{device}";')
    if session.password:
        lines.append(f'    md5-password "{_no_quotes(session.password, f"password of session {session.peer!r}")}";')
    lines += [
        "    adj-rib-in false;",
        "    adj-rib-out false;",
        "    group-updates true;",
        "    manual-eor true;",
        "    capability {",
        "        asn4 enable;",
        "        extended-message disable;",
        "        route-refresh enable;",
        f"        graceful-restart {session.restart_time or 'disable'};",
        f"        add-path {'send/receive' if session.add_path else 'disable'};",
        "    }",
        "    family {",
        *(f"        {family} unicast;" for family in session.families),
        "    }",
        f"    api {session.peer_address} {{",  # A section's name may stand in a file once.
        f"        processes [ {PROCESS} ];",
        "        neighbor-changes;",
        "        receive {",
        "            packets;",
        "            open;",
        "            update;",
        "            refresh;",
        "        }",
        "        send {",
        "            packets;",
        "            open;",
        "        }",
        "    }",
    ]
    return lines


def _device(plan: Plan, session: SessionPlan) -> str:
    """The interface that a session is dialled from, where the address alone does not say: "" elsewhere.

    Of several uplinks on one segment the kernel sends all by the first, whichever address a socket is bound to; and
    the first may be the one that is dead.
    """
    if session.passive or len(plan.uplinks) < 2:
        return ""
    found = next((each.interface for each in plan.uplinks if each.address == session.local_address), "")
    return _no_quotes(found, f"interface {found!r}") if found else ""


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _no_quotes(text: str, what: str) -> str:
    """ExaBGP's quoted strings know no quote inside, and unescape backslashes."""
    if not text.isascii() or not text.isprintable() or any(letter in text for letter in "\"'\\"):
        raise Unrenderable(f"{what}: only printable ASCII without quotes and backslashes can be given to ExaBGP")
    return text
