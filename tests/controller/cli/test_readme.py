"""README.md is a session: its commands are run against a controller, in its order, with the inventory that it names.

How a box becomes a gateway is a second one: a controller with TLS, a ZeroTier network from nothing, a box with a key.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from controller.api import board
from controller.cli import cli
from speaker.supervise import ProcessSpec
from tests.controller.api.served import wait_until
from tests.controller.cli.conftest import ROOT, Leyline
from tests.controller.cli.running import RunningController
from tests.controller.zerotier.fake import FakeNode, FakeWorld
from tests.controller.zerotier.fake_http import served as zerotier_served
from tests.docs.pages import PAGES, blocks, inline, lines_of

SMALLEST = "lab/scenarios/pair/inventory.yml"
(ENROLS,) = (block for block in blocks("", "README.md") if "speaker enroll" in block.text)
SERVE, LOGIN, *OPERATED = [
    line
    for block in blocks(page="README.md")
    for line in lines_of(block)
    if block != ENROLS and line.startswith("leyline ") and not line.startswith("leyline speaker ")
]
PARTNER = blocks("yaml", "clients.md")[0].text
SAID = {  # What a line says, where its comment promises something.
    "leyline apply --dry-run inventory/": "nothing was stored",
    "leyline apply inventory/": "revision 1: ",
    "leyline gateway token berlin-1": "leyline_",
    "leyline explain --from berlin 10.2.0.10": "intended: 10.2.0.0/24, over paris-1/main",
    "leyline whatif --fail paris-1": "pairs lose reachability",
    "leyline client-config partner --format frr": "\nrouter bgp 65021\n",
}


@pytest.fixture
def user(leyline: Leyline, running: RunningController, monkeypatch: pytest.MonkeyPatch) -> Leyline:
    """Logged in as the README says, in a directory with the smallest inventory in `inventory/`."""
    monkeypatch.chdir(leyline.home)
    assert f"[{SMALLEST}]({SMALLEST})" in PAGES["README.md"]
    leyline.write("inventory/pair.yml", (ROOT / SMALLEST).read_text())
    words = shlex.split(LOGIN.replace("http://127.0.0.1:8642", running.url))[1:]
    code, seen = leyline.on_terminal(*words, answers={"Token:": running.admin})
    assert code == 0, seen
    return leyline


def test_the_commands_of_an_operator_do_what_they_say(user: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "ASK_SECONDS", 0.2)  # No gateway is there to be asked.
    assert SERVE.startswith("leyline controller serve ")
    assert set(SAID) <= set(OPERATED)
    for line in OPERATED:
        if line.startswith("leyline client-config"):
            assert user("apply", user.write("partner.yml", PARTNER)).exit_code == 0
        done = user(*shlex.split(line)[1:])
        assert done.exit_code == (line == "leyline doctor"), f"{line}: {done.output}"  # No gateway has reported.
        assert SAID.get(line, "") in done.stdout, line


def test_what_is_asked_from_anywhere_is_answered(user: Leyline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes are a gateway's own, so a silent one is exit code 4; the rest is what was reported last."""
    monkeypatch.setattr(board, "ASK_SECONDS", 0.2)
    assert user("apply", "inventory/").exit_code == 0
    shown = [code for code in inline("README.md") if code.startswith("leyline show ")]
    assert len(shown) == 4
    for line in shown:
        done = user(*shlex.split(line)[1:])
        assert done.exit_code == (4 if line.startswith("leyline show routes") else 0), f"{line}: {done.output}"


# From nothing to an enrolled gateway


class Ticking(FakeWorld):
    """ZeroTier on this machine's clock."""

    @property
    def now(self) -> int:
        return int(time.time() * 1000)

    @now.setter
    def now(self, _now: int) -> None:
        """It is what it is."""


@dataclass
class Ground:
    """Where the lines are typed: what README names is put in place of by what there is here."""

    leyline: Leyline
    port: int
    instead: dict[str, str]
    box: list[str]  # Options of the box: where its services and its state are.

    def words(self, line: str) -> list[str]:
        for named, here in self.instead.items():
            line = line.replace(named, here)
        words = shlex.split(line)
        return [*words[2:], *self.box] if words[0] == "sudo" else words[1:]

    def starts(self, *words: str) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LEYLINE_")}
        code = "from controller.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.leyline.home, env={**environ, **self.leyline.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


@pytest.fixture
def zerotier() -> Iterator[tuple[FakeNode, FakeNode, str, str]]:
    """The node of the network's controller, and the box's; and where each is served."""
    world = Ticking()
    keeper, box = world.node("53fe91125f", token="keeper"), world.node("e000000001", token="box")
    with zerotier_served(keeper) as at, zerotier_served(box) as there:
        yield keeper, box, at, there


@pytest.fixture
def ground(
    leyline: Leyline,
    zerotier: tuple[FakeNode, FakeNode, str, str],
    self_signed: Callable[[Path], tuple[Path, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Ground:
    keeper, box, at, there = zerotier
    monkeypatch.chdir(leyline.home)
    certificate, key = self_signed(leyline.home)
    home = tmp_path / "zerotier-one"
    home.mkdir()
    (home / "authtoken.secret").write_text(box.token)
    (home / "zerotier-one.port").write_text(there.rpartition(":")[2])
    token = Path(leyline.write("authtoken.secret", keeper.token))
    inventory = (ROOT / SMALLEST).read_text().replace("fabric: {", 'fabric: {network: "53fe91125fabcdef", ')
    leyline.write("inventory/pair.yml", inventory)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    instead = {
        "sqlite:////var/lib/leyline/leyline.sqlite": f"sqlite:///{tmp_path}/leyline.sqlite",
        "0.0.0.0": f"127.0.0.1 --port {port}",
        "tls.pem": str(certificate),
        "key.pem": str(key),
        "http://127.0.0.1:9993": at,
        "/var/lib/zerotier-one/authtoken.secret": str(token),
        "leyline.example:8642": f"127.0.0.1:{port}",
    }
    for named in instead:
        assert named in ENROLS.text, named
    return Ground(leyline, port, instead, ["--state-dir", str(tmp_path / "state")])


@pytest.mark.slow
def test_from_nothing_to_a_gateway_by_a_key(
    ground: Ground, zerotier: tuple[FakeNode, FakeNode, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, login, *lines = lines_of(ENROLS)
    apply, create, enroll, approve, run = lines
    leyline, keeper = ground.leyline, zerotier[0].controller
    assert keeper is not None
    controller = ground.starts(*ground.words(serve))
    try:
        assert controller.stdout is not None
        admin = next(found[0] for line in controller.stdout if (found := re.search(r"leyline_\w{12}_\w{43}", line)))
        Thread(target=controller.stdout.read, daemon=True).start()
        wait_until(lambda: listens(ground.port))
        code, seen = leyline.on_terminal(*ground.words(login), answers={"Token:": admin})
        assert code == 0, seen
        assert leyline(*ground.words(apply)).exit_code == 0
        wait_until(lambda: bool(keeper.network("53fe91125fabcdef")), lambda: leyline("segment", "show").output)
        ground.instead["KEY"] = leyline(*ground.words(create)).stdout.strip()
        box = ground.starts(*ground.words(enroll), "--zerotier-home", str(tmp_path / "zerotier-one"))
        wait_until(lambda: "berlin-2" in leyline("gateway", "pending").stdout, lambda: box.poll() and box.communicate())
        done = leyline(*ground.words(approve))
        assert done.exit_code == 0, done.output
        said, _ = box.communicate(timeout=60)
        assert box.returncode == 0, said
        assert re.search(r"this is gateway berlin-2 of https://127.0.0.1:\d+, 10\.42\.0\.\d+ and fd42:42::\w+ in", said)
        member = keeper.member("53fe91125fabcdef", "e000000001")
        assert member is not None
        assert (member["authorized"], member["name"]) == (True, "berlin-2/main")
        assert runs(ground.words(run), monkeypatch) == ["agent", "exabgp", "bfd", "keepalived"]
    finally:
        controller.terminate()
        controller.wait(20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def runs(words: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processes that `leyline speaker run` would start: it has all that it needs."""
    asked: list[str] = []

    async def supervise(_state: object, specs: Sequence[ProcessSpec]) -> None:
        asked.extend(spec.name for spec in specs)

    with monkeypatch.context() as patch:
        patch.setattr("speaker.supervise.supervise", supervise)
        done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    return asked
