"""A gateway whose first uplink has never worked: BGP and traffic come by the second. Whole speakers, real packets."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker import plan as p
from tests.netns.namespaces import Namespace, segment, veth, wait_until
from tests.netns.speakers import Speaker, address, plan_of, prefixes, to_client, to_hub, within
from tests.netns.test_agent_liveness import FAST, QUICK

pytestmark = [pytest.mark.root, pytest.mark.slow]

HUB, FIRST, SECOND = 1, 8, 9


def test_a_first_uplink_that_never_heard_the_hub_keeps_neither_bgp_nor_traffic(tmp_path: Path) -> None:
    with (
        segment("dial", {"hub": [f"{address(HUB)}/16"], "spoke": []}) as members,
        Namespace("dial", "nobody") as nobody,
    ):
        spoke = members["spoke"]
        veth(spoke, "dead0", [f"{address(FIRST)}/16"], nobody, "cable", ())  # It has its carrier, and leads nowhere.
        spoke.run("ip", "address", "add", f"{address(SECOND)}/16", "dev", "eth0")  # The kernel's route is by dead0.
        hub_sessions = [to_client(HUB, FIRST), replace(to_client(HUB, SECOND), peer=f"n{FIRST}/second", standby=True)]
        space = hub_sessions[0].imports
        assert space is not None
        both = replace(
            space, next_hops=tuple(p.NextHopPlan(n, address(n), None, 300 - n, (), 0) for n in (FIRST, SECOND))
        )
        hub_sessions = [replace(each, imports=both) for each in hub_sessions]
        speakers = {name: Speaker(node, name, tmp_path) for name, node in members.items()}
        speakers["hub"].start(plan_of("hub", HUB, hub_sessions, hub=True, bfd=FAST, liveness=QUICK))
        dials = replace(to_hub(FIRST, HUB), local_fallbacks=(address(SECOND),))
        plan = plan_of("spoke", FIRST, [dials], prefixes(FIRST, 1), bfd=FAST, liveness=QUICK)
        first = replace(plan.uplinks[0], interface="dead0")
        second = p.UplinkPlan(SECOND, "second", "eth0", address(SECOND), None, "lte", 100, 0, FAST)
        speakers["spoke"].start(replace(plan, uplinks=(first, second)))

        def evidence() -> str:
            return "\n".join(speaker.evidence() for speaker in speakers.values())

        try:
            wait_until(lambda: speakers["spoke"].settled(HUB), within(40), evidence)
            (lan,) = prefixes(FIRST, 1)
            wait_until(lambda: speakers["hub"].kernel() == {lan: address(SECOND)}, within(20), evidence)
            assert f"local={address(SECOND)} was={address(FIRST)}" in speakers["spoke"].log_file.read_text()
        finally:
            for speaker in speakers.values():
                speaker.stop()
