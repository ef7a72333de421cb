"""What members let the network manage: the operator's own settings stay as they are."""

from __future__ import annotations

from lab.scenarios.zerotier_gateway.world import ALLOWED, LTE, SEED, World


def kept(world: World) -> None:
    run = world.run
    run.step("allowManaged: the speaker turns it on where it is off, and leaves a list of the operator's alone")
    joined = world.joined(SEED)
    run.expect("on at the hub, where it was off", joined.get("allowManaged") is True, joined)
    run.expect("allowDNS is the operator's: on", joined.get("allowDNS") is True, joined)
    text = world.settings_file(SEED).read_text()
    run.expect("the service has stored both", {"allowManaged=1", "allowDNS=1"} <= set(text.split()), text)
    text = world.settings_file(LTE).read_text()
    run.expect("the list of the LTE service stands", text == f"allowManaged={ALLOWED}\n", text)
