"""After approval: the box waits until ZeroTier has let it in and given it its addresses, and says what keeps it out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from controller.enroll_key import render
from speaker.commands import speaker
from speaker.enroll import access as stored
from speaker.enroll import admission
from speaker.enroll.exchange import Enrolled, Exchange
from speaker.plan import decode
from speaker.state import StateDir
from tests.speaker.enroll.conftest import NETWORK, Operator
from tests.speaker.zerotier.fake_service import FakeService, running

NODE = "456efad81a"
ADDRESS = "10.42.0.2"
"""What the controller gives the second uplink of the fabric."""


@pytest.fixture
def zerotier(tmp_path: Path) -> Iterator[FakeService]:
    """It makes the interface at the join, and has no word of the network's controller yet."""
    fake = FakeService(tmp_path / "home")
    fake.members[NETWORK] = {"addresses": [], "interface": "ztfake"}
    with running(fake) as served:
        yield served


def enroll(state: StateDir, key: str, fake: FakeService, *words: str) -> Result:
    arguments = [key, "--zerotier-home", str(fake.home), "--state-dir", str(state.root), *words]
    return CliRunner().invoke(speaker, ["enroll", *arguments])


def denied(fake: FakeService) -> None:
    """The controller knows the node and does not admit it."""
    fake.members.clear()
    fake.networks[NETWORK] |= {"status": "ACCESS_DENIED", "assignedAddresses": []}


def test_it_ends_when_the_address_of_the_plan_is_there(
    operator: Operator, state: StateDir, zerotier: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    real = zerotier.answer

    def answer(method: str, path: str, token: str, body: bytes) -> tuple[int, object]:
        if state.plan.exists():
            looks.append(path)
            if len(looks) == 12:
                zerotier.authorise(NETWORK, f"{ADDRESS}/16")
        return real(method, path, token, body)

    monkeypatch.setattr(zerotier, "answer", answer)
    done = enroll(state, operator.key_text(approve=True), zerotier)
    assert done.exit_code == 0, done.output
    assert decode(state.plan.read_bytes()).uplinks[0].address == ADDRESS
    assert len(looks) >= 12
    assert done.stderr.splitlines() == [
        f"node {NODE} has joined {NETWORK} on ztfake",
        f"berlin-1 waits for its address in the segment, {ADDRESS}",
    ]
    who = f"this is gateway berlin-1 of {operator.running.url}"
    assert done.stdout == f"{who}, {ADDRESS} in the segment: leyline speaker run starts it\n"


def test_another_address_is_not_the_one(operator: Operator, state: StateDir, zerotier: FakeService) -> None:
    zerotier.members[NETWORK]["addresses"] = ["10.42.7.7/16"]
    done = enroll(state, operator.key_text(approve=True), zerotier, "--timeout", "0.1")
    assert done.exit_code == 1
    assert f"{ADDRESS} is not this member's address" in done.stderr


def test_who_is_not_admitted_in_time_is_told_what_keeps_it_out_and_what_to_do(
    operator: Operator, state: StateDir, zerotier: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.1)
    key = operator.key_text(approve=True)
    assert enroll(state, key, zerotier, "--no-wait").exit_code == 0
    denied(zerotier)
    done = enroll(state, key, zerotier, "--timeout", "1")
    assert done.exit_code == 1
    *progress, last = done.stderr.splitlines()
    assert last.startswith("Error: berlin-1 is enrolled, and has no address in the segment after 1 s: ")
    for said in (
        f"{NETWORK} does not admit node {NODE}",
        f"the controller does not keep network {NETWORK}: authorise there by hand node {NODE} as {ADDRESS}",
        "The same command goes on waiting",
    ):
        assert said in last, last
    assert progress[0] == f"berlin-1 waits for its address in the segment, {ADDRESS}"
    assert "does not keep network" in progress[1]
    held = stored.load(state)
    assert held is not None
    assert held.approved, "it is enrolled all the same"


def test_a_controller_that_is_gone_meanwhile_does_not_end_the_wait(
    operator: Operator, state: StateDir, zerotier: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = operator.key_text(approve=True)
    assert enroll(state, key, zerotier, "--no-wait").exit_code == 0
    denied(zerotier)
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.0)
    access = stored.load(state)
    assert access is not None
    stored.save(state, msgspec.structs.replace(access, url="http://127.0.0.1:1"))
    said: list[str] = []
    services = admission.opened([("main", zerotier.home)])
    moved = stored.load(state)
    assert moved is not None
    with pytest.raises(admission.NotAddressed, match="does not admit"):
        admission.await_addresses(moved, state, services, said.append, 0.3)
    assert any("does not admit" in text for text in said)


def test_nobody_waits_who_does_not_want_to(operator: Operator, state: StateDir, zerotier: FakeService) -> None:
    done = enroll(state, operator.key_text(approve=True), zerotier, "--no-wait")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"this is gateway berlin-1 of {operator.running.url}: leyline speaker run starts it\n"
    assert "waits" not in done.stderr


def test_a_controller_that_does_not_answer_has_an_exit_code_of_its_own(state: StateDir, zerotier: FakeService) -> None:
    key = render("0" * 12, "s" * 43, "http://127.0.0.1:1", "")
    done = enroll(state, key, zerotier)
    assert done.exit_code == 3, done.output
    assert "is not reached" in done.stderr


def test_a_controller_of_before_says_nothing_of_the_segment(
    operator: Operator, state: StateDir, zerotier: FakeService
) -> None:
    key = operator.key_text(approve=True)
    enroll(state, key, zerotier, "--no-wait")
    access = stored.load(state)
    assert access is not None
    with Exchange(access.url, True) as controller:
        assert controller.state(access.gateway, access.token).kept_out
    assert msgspec.json.decode(b'{"gateway":"a","state":"approved","network":"n"}', type=Enrolled).kept_out == ""
