"""The client of the service on this box: what it makes of recorded answers, and of everything that goes wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from speaker.zerotier.local import DEFAULT_PORT, Garbled, LocalError, LocalService, NotAllowed, NotRunning
from speaker.zerotier.peers import read_peers
from tests.speaker.zerotier.fake_service import FakeService, recorded

NETWORK = "53fe91125fc50e14"


def test_status_is_read(service: LocalService) -> None:
    status = service.status()
    assert (status.node_id, status.version, status.online, status.clock_ms) == (
        "456efad81a",
        "1.14.1",
        True,
        1795301128228,
    )
    assert status.identity.startswith("456efad81a:0:")
    assert status.listening == ("192.0.2.20/9993", "192.0.2.20/9994")
    assert status.config["settings"]["interfacePrefixBlacklist"] == ["lan", "veth", "dum"]


def test_a_network_is_read(fake: FakeService, service: LocalService) -> None:
    assert service.network(NETWORK) is None
    (said,) = recorded("member_GET_network_list.json")
    fake.networks[NETWORK] = said
    joined = service.network(NETWORK)
    assert joined is not None
    assert (joined.status, joined.interface, joined.mac) == ("OK", "ztigqvihcl", "16:4b:ab:a5:ca:8b")
    assert (joined.mtu, joined.addresses, joined.allow_managed) == (2800, ("10.42.0.11/16",), True)


def test_joining(fake: FakeService, service: LocalService) -> None:
    assert service.join(NETWORK).status == "REQUESTING_CONFIGURATION"
    fake.authorise(NETWORK, "10.42.0.11/16")
    assert service.join(NETWORK, allowManaged=False).addresses == ("10.42.0.11/16",)
    joined = service.network(NETWORK)
    assert joined is not None
    assert not joined.allow_managed


def test_peers_are_what_the_service_says(service: LocalService) -> None:
    assert {peer.node_id for peer in read_peers(service.peers(), service.status().clock_ms)} >= {"53fe91125f"}


def test_a_moon_is_orbited_once(fake: FakeService, service: LocalService) -> None:
    world = "000000deadbeef42"
    moon = service.orbit(world, "deadbeef42")
    assert (moon.world, moon.waiting, moon.endpoints) == (world, True, ())
    assert service.moons() == {}, "the service lists no moon that it waits for"
    fake.moons[world] = {"id": world, "timestamp": 7, "roots": [{"stableEndpoints": ["203.0.113.7/9993"]}]}
    assert service.orbit(world, "deadbeef42") == service.moons()[world]
    assert service.moons()[world].endpoints == ("203.0.113.7/9993",)
    assert "POST /moon/deadbeef42" in fake.log, "the path has room for ten digits"
    service.deorbit(world)
    assert service.moons() == {}


@pytest.mark.parametrize("world", ["deadbeef42", "123456deadbeef42", "", "000000DEADBEEF42"])
def test_a_world_that_the_interface_cannot_name_is_refused(service: LocalService, world: str) -> None:
    with pytest.raises(ValueError, match="is no world"):
        service.orbit(world, "deadbeef42")


@pytest.mark.parametrize("network", ["", "53FE91125FC50E14", "../status", NETWORK + "0"])
def test_what_is_no_network_never_leaves_this_box(fake: FakeService, service: LocalService, network: str) -> None:
    with pytest.raises(ValueError, match="16 hex digits"):
        service.join(network)
    assert fake.log == []


def test_a_service_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"there is no .*authtoken.secret: install and start zerotier-one"):
        LocalService(tmp_path).status()


def test_a_service_that_does_not_run(tmp_path: Path) -> None:
    fake = FakeService(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NotRunning, match=f"nothing answers on 127.0.0.1 port {port} .*: start zerotier-one"):
        LocalService(fake.home, port).status()


def test_a_service_that_is_stuck(tmp_path: Path) -> None:
    fake = FakeService(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(NotRunning, match="is zerotier-one stuck"):
        LocalService(fake.home, server.getsockname()[1], timeout=0.2).status()


def test_a_token_that_changes_is_read_again(fake: FakeService, service: LocalService) -> None:
    token = fake.home / "authtoken.secret"
    good = token.read_text()
    token.write_text("wrong")
    with pytest.raises(NotAllowed, match="is that the home of this service") as refused:
        service.status()
    assert "wrong" not in str(refused.value)
    token.write_text(good + "\n")
    assert service.status().online


def test_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "authtoken.secret").mkdir()
    with pytest.raises(NotAllowed, match="cannot be read"):
        LocalService(tmp_path).status()


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        (200, b"<html>"),
        (200, b'{"address": "456e'),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"\xff\xfe"),
        (200, b"[" * 100_000),
        (500, b"{}"),
        (302, b""),
        (200, b""),
    ],
)
@pytest.mark.parametrize("what", ["status", "moons"])
def test_an_answer_that_is_none_is_garbled(
    fake: FakeService, service: LocalService, what: str, code: int, raw: bytes
) -> None:
    fake.breakage = code, raw
    if raw == b"[]" and what != "status":
        assert not getattr(service, what)()
        return
    with pytest.raises(Garbled, match=str(fake.home)):
        getattr(service, what)()
    fake.breakage = None
    getattr(service, what)()


def test_an_answer_without_end_is_cut(
    fake: FakeService, service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speaker.zerotier.local.MAX_ANSWER", 1000)
    fake.breakage = 200, b" " * 2000
    with pytest.raises(Garbled, match="more than"):
        service.peers()


def test_every_failure_is_one_kind() -> None:
    assert issubclass(NotRunning, LocalError)
    assert issubclass(NotAllowed, LocalError)
    assert issubclass(Garbled, LocalError)


def test_the_port_is_the_one_that_the_service_wrote(tmp_path: Path) -> None:
    assert LocalService(tmp_path).port == DEFAULT_PORT
    (tmp_path / "zerotier-one.port").write_text("9997\n")
    assert LocalService(tmp_path).port == 9997
    assert LocalService(tmp_path, 9994).port == 9994
    (tmp_path / "zerotier-one.port").write_text("junk")
    assert LocalService(tmp_path).port == DEFAULT_PORT


def test_no_proxy_is_told_the_token(service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fresh = LocalService(service.home)
    assert fresh.status().online
