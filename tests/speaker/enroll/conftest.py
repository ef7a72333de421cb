from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from speaker.enroll.key import Key, parse
from speaker.state import StateDir
from tests.controller.cli.conftest import self_signed
from tests.controller.cli.running import RunningController

__all__ = ["self_signed"]

NETWORK = "8056c2e21c000001"
FABRIC: dict[str, Any] = {
    "fabric": {"name": "demo", "asn": 64512, "segment": "10.42.0.0/16", "network": NETWORK},
    "regions": [{"name": "eu"}],
    "sites": [{"name": "berlin", "region": "eu"}, {"name": "paris", "region": "eu"}],
    "gateways": [
        {
            "name": "hub-1",
            "site": "paris",
            "role": "hub",
            "uplinks": [{"name": "main", "node_id": "a000000001", "interface": "zt0", "circuit_class": "fiber"}],
        }
    ],
}


class Operator:
    """Someone with an admin token."""

    def __init__(self, running: RunningController, fingerprint: str = "") -> None:
        self.running, self.fingerprint = running, fingerprint
        headers = {"Authorization": f"Bearer {running.admin}"}
        self.http = httpx2.Client(base_url=f"{running.url}/api/v1", headers=headers, verify=False, trust_env=False)
        self.post("/apply", FABRIC)

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.http.post(path, json=body) if body is not None else self.http.post(path)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        return self.http.get(path).json()

    def key_text(self, **fields: Any) -> str:
        body = {"site": "berlin", "url": self.running.url, "fingerprint": self.fingerprint, **fields}
        text: str = self.post("/enroll-keys", body)["key"]
        return text

    def key(self, **fields: Any) -> Key:
        return parse(self.key_text(**fields))


class FakeZeroTier:
    """A service that makes its interface on the third look after the join."""

    def __init__(self, node_id: str = "e000000001", interface: str = "ztfabric0") -> None:
        self._node_id, self._interface = node_id, interface
        self.joins: list[str] = []

    def node_id(self) -> str:
        return self._node_id

    def join(self, network: str) -> str:
        self.joins.append(network)
        return self._interface if len(self.joins) >= 3 else ""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningController]:
    """A controller on loopback, without TLS."""
    with RunningController(tmp_path_factory.mktemp("controller")) as controller:
        yield controller


@pytest.fixture
def operator(plain: RunningController) -> Operator:
    plain.reset()
    return Operator(plain)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    found = StateDir(tmp_path / "state")
    found.prepare()
    return found


Certificates = Callable[[Path], tuple[Path, Path]]
