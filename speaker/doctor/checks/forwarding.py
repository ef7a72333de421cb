"""Does a firewall on this box drop what must go through: LAN to segment and back, and on a hub segment to segment?

Detours need the latter: when a direct path dies, a spoke sends through a hub, in and out of the same interface.
"""

from __future__ import annotations

from collections.abc import Iterator

from speaker.doctor.facts import Facts
from speaker.doctor.finding import Found
from speaker.doctor.nft_verdict import Packet, Ruleset

OURS = ("inet", "leyline")
ANY_PORT = 61_003
"""One that no rule names: what is let through for some services only is no way for everything."""


def check(facts: Facts) -> Iterator[Found]:
    if facts.nft_error:
        what = f"the ruleset cannot be read: {facts.nft_error}"
        yield Found(
            "warning", "nftables", what, "install nft (Debian: apt install nftables): detours by plain IP need it"
        )
    if facts.nft is None or facts.plan is None:
        return
    if not any((item.get("table") or {}).get("name") == OURS[1] for item in facts.nft):
        what = "the table `inet leyline` is not there: no detours by plain IP, and every next hop counts as in use"
        yield Found("warning", "nftables", what, "start the agent; it puts the table back within a second")
    rules = Ruleset(facts.nft, without=[OURS])
    for one, other, why in _ways(facts):
        verdict = rules.judge("forward", Packet(iifname=one, oifname=other, protocol="udp", dport=ANY_PORT))
        if verdict.verdict == "drop":
            rule = f'iifname "{one}" oifname "{other}"'
            fix = f"nft insert rule {verdict.chain} {rule} accept, and the same in its configuration file"
            yield Found("error", f"nftables {verdict.chain}", f"{one} to {other} is dropped: {why}", fix)


def _ways(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """(interface in, interface out, what needs it)."""
    assert facts.plan is not None
    uplinks = sorted(facts.plan.interfaces)
    if facts.plan.role == "hub":
        for one in uplinks:
            for other in uplinks:
                yield one, other, "detours of other sites go this way"
    for lan in sorted({each.interface for each in (facts.report.lans if facts.report else ()) if each.interface}):
        for uplink in uplinks:
            yield lan, uplink, "traffic of the LAN goes this way"
            yield uplink, lan, "traffic to the LAN comes this way"
