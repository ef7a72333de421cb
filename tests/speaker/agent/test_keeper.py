"""What is said of ExaBGP's configuration: what is wrong with it, and that nothing is any more. No ExaBGP runs here."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker.agent import keeper as module
from speaker.agent.keeper import SessionKeeper
from speaker.bgp.bridge import SOCKET
from speaker.bgp.client import BridgeClient
from speaker.bgp.exabgp.config import render
from speaker.plan import Plan
from speaker.state import StateDir
from tests.netns.speakers import plan_of, to_hub

GOOD = plan_of("a", 2, [to_hub(2, 1)])
BAD = replace(GOOD, sessions=(replace(GOOD.sessions[0], password='"'),))


def test_an_error_is_told_until_it_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    state = StateDir(tmp_path)
    state.exabgp_config.write_text(render(GOOD, str(state.bridge), sys.executable))
    plan, said = BAD, list[str]()

    def now() -> Plan:
        return plan

    async def story() -> None:
        nonlocal plan
        bridge = BridgeClient(state.bridge / SOCKET)
        keeper = SessionKeeper(bridge, state, now, lambda *_: False, lambda _: None, said.append)
        task = asyncio.create_task(keeper.run())
        keeper.wake()
        while not said:
            await asyncio.sleep(0.001)
        assert "only printable ASCII" in said[-1]
        plan = GOOD
        while said[-1]:
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert said[-1] == ""
