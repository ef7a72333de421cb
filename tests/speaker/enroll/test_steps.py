"""A box with a key becomes a gateway: against the real controller, with a ZeroTier service that only pretends."""

from __future__ import annotations

import asyncio
import ssl
import stat
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from speaker.enroll import access as stored
from speaker.enroll import steps
from speaker.enroll.exchange import EnrolFailed, Exchange, NotReached
from speaker.enroll.key import Key
from speaker.enroll.pin import OtherCertificate, pinned_context
from speaker.enroll.steps import Wish, enroll
from speaker.enroll.tokens import make_token, told
from speaker.plan import decode
from speaker.state import StateDir
from tests.controller.cli.running import RunningController
from tests.speaker.enroll.conftest import NETWORK, Certificates, FakeZeroTier, Operator


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "POLL_SECONDS", 0.05)


def wish(key: Key, **fields: Any) -> Wish:
    return Wish(key, fields.pop("services", [("main", FakeZeroTier())]), **fields)


def silent(_text: str) -> None:
    pass


def test_with_a_key_that_approves_it_is_a_gateway_at_once(operator: Operator, state: StateDir) -> None:
    service, said = FakeZeroTier(), list[str]()
    access = enroll(wish(operator.key(approve=True), services=[("main", service)]), state, said.append)
    assert (access.gateway, access.network, access.approved) == ("berlin-1", NETWORK, True)
    assert set(service.joins) == {NETWORK}
    assert said == ["node e000000001 has joined 8056c2e21c000001 on ztfabric0"]
    assert stored.load(state) == access
    assert stat.S_IMODE(state.access.stat().st_mode) == 0o600
    plan = decode(state.plan.read_bytes())
    assert (plan.gateway, plan.uplinks[0].interface) == ("berlin-1", "ztfabric0")


def test_it_waits_until_somebody_approves(operator: Operator, state: StateDir) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        if "waits for approval" in text:
            waits.set()

    done: list[stored.Access] = []
    box = threading.Thread(target=lambda: done.append(enroll(wish(operator.key(), name="roof"), state, say)))
    box.start()
    assert waits.wait(20)
    (row,) = operator.get("/enrolments")["items"]
    assert (row["gateway"], row["state"], row["node_ids"]) == ("roof", "pending", ["e000000001"])
    assert not state.plan.exists()
    operator.post("/gateways/roof/approve")
    box.join(20)
    assert done[0].approved
    assert state.plan.exists()
    assert said[-1] == "roof waits for approval: leyline gateway approve roof"


def test_a_run_that_was_broken_off_goes_on(operator: Operator, state: StateDir) -> None:
    key = operator.key()
    with pytest.raises(EnrolFailed, match="Run the same command again"):
        enroll(wish(key, wait_seconds=0), state, silent)
    first = stored.load(state)
    with pytest.raises(EnrolFailed, match="Run the same command again"):
        enroll(wish(key, wait_seconds=0), state, silent)
    assert first is not None
    operator.post(f"/gateways/{first.gateway}/approve")
    access = enroll(wish(key, wait_seconds=0), state, silent)
    assert (access.token, access.approved) == (first.token, True)
    assert enroll(wish(key), state, silent) == access, "once more is no harm"
    assert operator.get("/enroll-keys")["items"][0]["used"] == 1
    assert len(operator.get("/enrolments")["items"]) == 1


def test_an_answer_that_was_lost_costs_nothing(
    operator: Operator, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, real = operator.key(approve=True), Exchange.enrol

    def lost(self: Exchange, key: Key, body: dict[str, Any]) -> Any:
        real(self, key, body)
        raise NotReached("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "enrol", lost)
        with pytest.raises(NotReached):
            enroll(wish(key), state, silent)
    assert enroll(wish(key), state, silent).approved
    assert operator.get("/enroll-keys")["items"][0]["used"] == 1


def test_who_is_refused_is_told_so_and_can_begin_anew(operator: Operator, state: StateDir) -> None:
    key = operator.key()
    with pytest.raises(EnrolFailed):
        enroll(wish(key, wait_seconds=0), state, silent)
    operator.post("/gateways/berlin-1/revoke")
    with pytest.raises(EnrolFailed, match="was refused by an operator"):
        enroll(wish(key, wait_seconds=0), state, silent)
    assert not state.access.exists()
    assert enroll(wish(operator.key(approve=True)), state, silent).approved


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda operator, key: operator.http.delete(f"/enroll-keys/{key.id}"), "has been revoked: ask for a new one"),
        (
            lambda operator, _key: operator.running._sql("UPDATE enroll_keys SET expires_at = created_at"),
            "has expired: ask for a new one",
        ),
        (
            lambda operator, _key: operator.running._sql("UPDATE enroll_keys SET used = uses"),
            "has been used 1 of 1 times: ask for a new one",
        ),
        (lambda operator, _key: operator.running._sql("DELETE FROM enroll_keys"), "does not know this key"),
    ],
    ids=["revoked", "expired", "used up", "unknown"],
)
def test_a_key_that_lets_nobody_in_says_so_before_anything_is_joined(
    operator: Operator, state: StateDir, prepare: Any, says: str
) -> None:
    key, service = operator.key(), FakeZeroTier()
    prepare(operator, key)
    with pytest.raises(EnrolFailed, match=says):
        enroll(wish(key, services=[("main", service)]), state, silent)
    assert service.joins == []
    assert not state.access.exists()


def test_a_gateway_does_not_become_another_one_by_accident(operator: Operator, state: StateDir) -> None:
    enroll(wish(operator.key(approve=True)), state, silent)
    with pytest.raises(EnrolFailed, match="leyline gateway revoke berlin-1"):
        enroll(wish(operator.key(approve=True)), state, silent)
    operator.post("/gateways/berlin-1/revoke")
    assert enroll(wish(operator.key(approve=True), name="again"), state, silent).gateway == "again"


def test_a_declared_gateway_comes_again_by_its_own_key_when_its_token_is_over(
    operator: Operator, state: StateDir
) -> None:
    declared = FakeZeroTier("a000000001")
    first = enroll(wish(operator.key(site=None, gateway="hub-1"), services=[("main", declared)]), state, silent)
    assert (first.gateway, first.approved, state.plan.exists()) == ("hub-1", True, True)
    again = operator.key(site=None, gateway="hub-1")
    with pytest.raises(EnrolFailed, match="already"):
        enroll(wish(again, services=[("main", declared)]), state, silent)
    for each in operator.get("/tokens")["items"]:
        if each["gateway"] == "hub-1":
            operator.http.delete(f"/tokens/{each['id']}")
    second = enroll(wish(again, services=[("main", declared)]), state, silent)
    assert (second.gateway, second.approved, second.token != first.token) == ("hub-1", True, True)
    assert len(operator.get("/revisions")["items"]) == 1


def test_findings_reach_the_gateway(operator: Operator, state: StateDir) -> None:
    two = [("main", FakeZeroTier()), ("lte", FakeZeroTier())]
    with pytest.raises(EnrolFailed, match="node_id e000000001"):
        enroll(wish(operator.key(approve=True), services=two), state, silent)
    assert not state.access.exists(), "the next run begins anew, with what was put right"


def test_a_service_without_an_interface(operator: Operator, state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "INTERFACE_SECONDS", 0.0)
    with pytest.raises(EnrolFailed, match="uplink main has joined"):
        enroll(wish(operator.key(), services=[("main", FakeZeroTier(interface=""))]), state, silent)


def test_nobody_there(state: StateDir) -> None:
    with pytest.raises(NotReached, match="is not reached"):
        enroll(wish(Key("0" * 12, "s" * 43, "http://127.0.0.1:1", "")), state, silent)


def test_the_hash_of_a_token_is_what_the_controller_is_told() -> None:
    token = make_token()
    _, public, secret = token.split("_")
    assert told(token) == {"id": public, "sha256": sha256(secret.encode()).hexdigest()}
    with pytest.raises(ValueError):
        told("leyline_x_y")


# TLS


def fingerprint_of(certificate: Path) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


@pytest.mark.slow
def test_the_pinned_certificate_and_no_other(tmp_path: Path, state: StateDir, self_signed: Certificates) -> None:
    certificate, key_file = self_signed(tmp_path)
    with RunningController(tmp_path, tls=(certificate, key_file)) as running:
        operator = Operator(running, fingerprint_of(certificate))
        good = operator.key(approve=True)
        access = enroll(wish(good), state, silent)
        assert (access.fingerprint, access.ca_file) == (good.fingerprint, ""), "nobody vouches for it: the very one"
        bad = Key(good.id, good.secret, good.url, "00" * 32)
        other = StateDir(tmp_path / "other")
        other.prepare()
        with pytest.raises(EnrolFailed, match=f"another certificate.*{good.fingerprint}.*Nothing was sent"):
            enroll(wish(bad), other, silent)
        kept = StateDir(tmp_path / "kept")
        kept.prepare()
        ca = str(certificate)
        second = wish(operator.key(approve=True), ca_file=ca, services=[("main", FakeZeroTier("e000000002"))])
        access = enroll(second, kept, silent)
        assert (access.fingerprint, access.ca_file) == ("", ca), "its CA may sign the next one"


@pytest.mark.slow
def test_a_pin_holds_in_both_kinds_of_client(tmp_path: Path, self_signed: Certificates) -> None:
    certificate, key_file = self_signed(tmp_path)
    with RunningController(tmp_path, tls=(certificate, key_file)) as running:
        url = f"{running.url}/api/v1/healthz"

        async def ask(fingerprint: str) -> int:
            async with httpx2.AsyncClient(verify=pinned_context(fingerprint), trust_env=False) as client:
                return (await client.get(url)).status_code

        good = fingerprint_of(certificate)
        assert asyncio.run(ask(good)) == 200
        assert httpx2.get(url, verify=pinned_context(good), trust_env=False).status_code == 200
        for attempt in (
            lambda: asyncio.run(ask("00" * 32)),
            lambda: httpx2.get(url, verify=pinned_context("00" * 32), trust_env=False),
        ):
            with pytest.raises(httpx2.ConnectError) as refused:
                attempt()
            cause: BaseException | None = refused.value
            while cause is not None and not isinstance(cause, OtherCertificate):
                cause = cause.__cause__ or cause.__context__
            assert isinstance(cause, OtherCertificate)
