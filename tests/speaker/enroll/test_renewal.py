"""A gateway's token is renewed by the gateway, in time, whatever breaks off in between."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from speaker.agent import renewal
from speaker.agent.poll import ControllerAccess, ControllerClient
from speaker.agent.renewal import LOOK_SECONDS, RETRY_SECONDS, Lifetime, Renewal
from speaker.enroll import access as stored
from speaker.enroll.access import Access, mark_of, token_instead_of
from speaker.enroll.steps import Wish, enroll
from speaker.report import Answer, Ask
from speaker.state import StateDir
from tests.speaker.agent.test_plans import fsyncs_in
from tests.speaker.enroll.conftest import FakeZeroTier, Operator

DAY = 86_400


@given(st.floats(0, 1e9), st.floats(1, 1e8), st.floats(0, 1))
def test_a_token_is_due_when_two_thirds_of_its_time_are_over(begins: float, span: float, part: float) -> None:
    left = Lifetime(begins, begins + span).left_until_due(begins + span * part)
    assert left is not None
    assert abs(left - span * (2 / 3 - part)) < 1e-3 * span + 1


def test_a_token_that_does_not_expire_is_never_due() -> None:
    assert Lifetime(0, None).left_until_due(1e12) is None


class Box:
    """An enrolled gateway, as its agent sees it."""

    def __init__(self, operator: Operator, state: StateDir) -> None:
        self.operator, self.state = operator, state
        key = operator.key(approve=True)
        self.access = enroll(Wish(key, [("main", FakeZeroTier())]), state, lambda _text: None)

    def held(self) -> Access:
        held = stored.load(self.state)
        assert held is not None
        return held

    def looks(self, *after_days: float, prepare: Callable[[ControllerClient], None] = lambda _: None) -> list[float]:
        """What each look says, with an agent that has just been started."""
        held = self.held()

        async def run() -> list[float]:
            access = ControllerAccess(held.url, held.token, held.gateway)
            client = client_of(access)
            prepare(client)
            work = Renewal(self.state, access, client)
            try:
                return [await work.look(time.time() + days * DAY) for days in after_days]
            finally:
                await client.close()

        return asyncio.run(run())

    def tokens(self) -> list[str]:
        items = self.operator.get("/tokens")["items"]
        return [each["id"] for each in items if each["gateway"] == self.access.gateway and each["state"] == "usable"]


def client_of(access: ControllerAccess) -> ControllerClient:
    async def on_plan(_data: bytes) -> None: ...

    async def on_ask(ask: Ask) -> Answer:
        return Answer(ask.id, ok=True, body={})

    return ControllerClient(access, on_plan, on_ask, lambda: "")


@pytest.fixture
def box(operator: Operator, state: StateDir) -> Box:
    return Box(operator, state)


def id_of(token: str) -> str:
    return token.split("_")[1]


def test_nothing_is_done_before_it_is_time(box: Box) -> None:
    assert box.looks(0, 59) == [LOOK_SECONDS, LOOK_SECONDS]
    (hour,) = box.looks(60 - 0.01)
    assert 0 < hour < LOOK_SECONDS, "it looks again when it is time"
    assert box.held() == box.access


def test_it_is_renewed_and_the_former_one_has_its_grace(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = fsyncs_in(monkeypatch)
    box.looks(61)
    assert syncs
    assert threading.main_thread() not in syncs, "a slow disk does not stop the agent"
    held = box.held()
    assert held.token != box.access.token
    assert held.next_token == ""
    assert set(box.tokens()) == {id_of(box.access.token), id_of(held.token)}
    items = {each["id"]: each for each in box.operator.get("/tokens")["items"]}
    assert items[id_of(held.token)]["created_by"] == f"gateway {held.gateway}"
    assert box.looks(0) == [LOOK_SECONDS], "the new one is fresh"


def test_the_agent_goes_on_with_the_new_token_at_once(box: Box) -> None:
    box.looks(61, 0)
    box.operator.http.delete(f"/tokens/{id_of(box.access.token)}")
    assert box.looks(0) == [LOOK_SECONDS]


@pytest.mark.parametrize("reached", [True, False], ids=["the answer is lost", "the request is lost"])
def test_what_breaks_off_is_done_again_with_the_same_token(box: Box, reached: bool) -> None:
    def prepare(client: ControllerClient) -> None:
        real: Callable[[bytes], Awaitable[tuple[int, bytes]]] = client.renew_token

        async def lost(body: bytes) -> tuple[int, bytes]:
            if reached:
                await real(body)
            return 0, b""

        client.renew_token = lost  # type: ignore[method-assign]

    assert box.looks(61, prepare=prepare) == [RETRY_SECONDS]
    waits = box.held()
    assert (waits.token, bool(waits.next_token)) == (box.access.token, True)
    box.looks(61)
    assert box.held().token == waits.next_token
    assert len(box.tokens()) == 2


def test_a_lost_answer_and_a_grace_that_is_over(box: Box) -> None:
    """The controller renewed, the gateway never heard of it, and was off for longer than the former token lived."""

    def prepare(client: ControllerClient) -> None:
        real = client.renew_token

        async def lost(body: bytes) -> tuple[int, bytes]:
            await real(body)
            return 0, b""

        client.renew_token = lost  # type: ignore[method-assign]

    box.looks(61, prepare=prepare)
    box.operator.running.expire(id_of(box.access.token))
    box.looks(0, 0)
    assert box.held().next_token == ""
    assert box.tokens() == [id_of(box.held().token)]


def test_a_token_that_is_refused_is_said_once_and_waited_out(box: Box) -> None:
    box.operator.http.delete(f"/tokens/{id_of(box.access.token)}")
    with capture_logs() as logs:
        assert box.looks(0, 0) == [RETRY_SECONDS, RETRY_SECONDS]
    (said,) = [line for line in logs if line["event"] == "token"]
    assert "refuses this gateway's token" in said["why"]


def test_a_full_disk_keeps_the_token_as_it_is(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_state: StateDir, _access: Access) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stored, "save", full)
        assert box.looks(61) == [RETRY_SECONDS]
    assert len(box.tokens()) == 1, "the controller has not heard of a token that is nowhere"


def test_an_id_that_is_taken_makes_another_token(box: Box) -> None:
    (admin,) = [each for each in box.operator.get("/tokens")["items"] if each["role"] == "admin"]
    taken = f"leyline_{admin['id']}_{'x' * 43}"
    stored.save(box.state, msgspec.structs.replace(box.access, next_token=taken))
    assert box.looks(61) == [RETRY_SECONDS]
    assert box.held().next_token == ""
    box.looks(61)
    assert len(box.tokens()) == 2


def test_a_controller_that_is_away_or_talks_nonsense(box: Box) -> None:
    def answering(status: int, body: bytes) -> Callable[[ControllerClient], None]:
        async def whoami() -> tuple[int, bytes]:
            return status, body

        return lambda client: setattr(client, "whoami", whoami)

    for status, body in ((0, b""), (503, b""), (200, b"<html>"), (200, b'{"created_at": "x", "expires_at": "y"}')):
        assert box.looks(61, prepare=answering(status, body)) == [RETRY_SECONDS], (status, body)
    assert box.held() == box.access


def test_a_token_from_the_operators_file_is_renewed_beside_it(operator: Operator, state: StateDir) -> None:
    token = operator.post("/gateways/hub-1/token")["token"]

    async def look() -> float:
        access = ControllerAccess(operator.running.url, token, "hub-1", replaces=mark_of(token))
        client = client_of(access)
        try:
            return await Renewal(state, access, client).look(time.time() + 61 * DAY)
        finally:
            await client.close()

    asyncio.run(look())
    renewed = token_instead_of(state, "hub-1", token)
    assert renewed != token
    assert id_of(renewed) in {each["id"] for each in operator.get("/tokens")["items"]}
    assert token_instead_of(state, "hub-1", "another") == "another", "whoever writes another token there means it"
    assert token_instead_of(state, "hub-2", token) == token


def test_the_task_looks_and_waits_as_it_is_told(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Done(Exception):
        pass

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise Done

    async def look(_self: Renewal, _now: float) -> float:
        return 7.0

    monkeypatch.setattr("speaker.agent.renewal.asyncio.sleep", sleep)
    monkeypatch.setattr(Renewal, "look", look)
    nobody: Any = None
    with pytest.raises(Done):
        asyncio.run(renewal.renew_for_ever(state, nobody, nobody))
    assert pauses == [7.0] * 3
