"""Real labs of namespaces: built, used, removed, also when the builder dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import labs, leftovers, topology
from lab.node import CommandFailed
from lab.pings import PingTrain

pytestmark = pytest.mark.root
PLAIN = Path(__file__).parent / "labs" / "plain.clab.yml"
CLI = [sys.executable, "-c", "from lab.commands import lab; lab()"]


@pytest.fixture
def name() -> Iterator[str]:
    name = f"lab-{os.getpid()}"
    yield name
    labs.down(name)
    assert nothing_left(name) == ""


@pytest.fixture
def plain(name: str) -> labs.Lab:
    return labs.up(topology.read(PLAIN, {}, name))


def nothing_left(name: str) -> str:
    """What is left of a lab, as text; empty = nothing."""
    spaces = list(Path("/run/netns").glob(f"ll-{name}-*"))
    return f"{leftovers.processes_of(name)} {spaces}" if leftovers.processes_of(name) or spaces else ""


def wait_until(what: str, condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def cli(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *words], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )


def test_hosts_reach_each_other_through_two_routers(plain: labs.Lab) -> None:
    host = plain.node("host-east")
    assert host.reaches("10.9.2.2")
    assert not host.reaches("10.9.3.9", count=1, seconds=1)
    assert host.traceroute("10.9.2.2") == ["10.9.1.1", "10.9.0.2", "10.9.2.2"]


def test_nodes_are_apart_in_host_name_environment_files_and_processes(plain: labs.Lab) -> None:
    east, west = plain.node("east"), plain.node("west")
    assert east.out("hostname").strip() == "east"
    assert east.out("cat /etc/lab/motd") == "bound, and read-only\n"
    assert east.run(["sh", "-c", "echo x > /etc/lab/motd"], check=False).returncode != 0
    assert west.run("test -e /etc/lab/motd", check=False).returncode == 1
    assert not Path("/etc/lab").exists()
    assert east.out("cat /etc/hosts").splitlines()[-1] == "127.0.1.1 east"
    assert "nameserver" not in east.out("cat /etc/resolv.conf")
    assert "SIDE=left" in west.out("env").splitlines()
    east.run("touch /run/only-here")
    assert west.run("test -e /run/only-here", check=False).returncode == 1
    assert not Path("/run/only-here").exists()
    assert "sleep infinity" in plain.node("host-west").out("ps axo args")
    assert "sleep infinity" not in west.out("ps axo args")


def test_a_bind_that_is_new_in_a_directory_does_not_hide_one_that_replaces_a_file_there(
    name: str, tmp_path: Path
) -> None:
    for file in ("passwd", "brand-new"):
        (tmp_path / file).write_text(file)
    text = (
        "name: x\ntopology:\n  nodes:\n    a: {kind: linux, network-mode: none, image: 'debian:12.11', "
        "binds: ['passwd:/etc/passwd', 'brand-new:/etc/brand-new']}\n"
    )
    node = labs.up(topology.parse(text, tmp_path / "x.clab.yml", {}, name)).node("a")
    assert node.out("cat /etc/passwd /etc/brand-new") == "passwdbrand-new"


def test_links_have_the_mtu_they_name_and_the_machine_never_sees_them(plain: labs.Lab) -> None:
    assert "mtu 1400" in plain.node("west").out("ip link show eth1")
    assert "mtu 9500" in plain.node("west").out("ip link show zt0")
    ours = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert "zt0" not in ours


def test_a_started_process_can_be_watched_and_killed(plain: labs.Lab) -> None:
    node = plain.node("east")
    process = node.start(["sh", "-c", "echo started; exec sleep 1000"], name="sleeper")
    wait_until("the log has a line", lambda: process.log.read_text() == "started\n")
    assert process.alive()
    wait_until("it is `sleep`", lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep\0"))
    inner = int(node.out(["pgrep", "-x", "sleep"]))
    assert node.process(inner, "sleeper").pid == process.pid
    process.kill(signal.SIGKILL)
    assert process.wait(5)
    with pytest.raises(ProcessLookupError):
        node.process(inner, "sleeper")


def test_a_train_of_pings_knows_what_is_lost(plain: labs.Lab) -> None:
    near, far, host = "10.9.1.1", "10.9.2.2", plain.node("host-east")
    train = PingTrain([host.pings(near, "near"), host.pings(far, "far")])
    west = plain.node("west")
    wait_until("pings are answered", lambda: train.answered() > 20)
    west.run("ip route add blackhole 10.9.1.2/32")
    wait_until("the far host is silent", lambda: not host.reaches(far, count=1, seconds=0.3))
    west.run("ip route del blackhole 10.9.1.2/32")
    before = train.answered()
    wait_until("pings are answered again", lambda: train.answered() > before + 20)
    pings = train.finish()
    assert pings["near"].lost == 0
    assert pings["near"].sent == pings["far"].sent > 50
    lost = pings["far"].missing
    assert 5 < len(lost) < pings["far"].sent
    assert lost == tuple(range(lost[0], lost[-1] + 1))


def test_a_failing_command_says_what_it_printed(plain: labs.Lab) -> None:
    with pytest.raises(CommandFailed, match=r"east: ip link show none: exit code 1: Device \"none\" does not exist"):
        plain.node("east").run("ip link show none")


def test_a_lab_that_cannot_be_built_leaves_nothing(name: str, tmp_path: Path) -> None:
    text = PLAIN.read_text().replace("ip link set br0 up", "ip link set br7 up")
    text = text.replace("plain/motd", str(PLAIN.parent / "plain" / "motd"))
    wanted = topology.parse(text, tmp_path / "x.clab.yml", {}, name)
    with pytest.raises(labs.LabError, match="segment: ip link set br7 up: exit code 1: Cannot find device"):
        labs.up(wanted)
    assert nothing_left(name) == ""


def test_the_next_up_removes_what_a_killed_builder_left(name: str, tmp_path: Path) -> None:
    """kill -9 in the middle: an exec of the file waits for ever, so half of the lab stands."""
    slow = tmp_path / "slow.clab.yml"
    text = PLAIN.read_text().replace("plain/motd", str(PLAIN.parent / "plain" / "motd"))
    slow.write_text(text.replace("- ip link set br0 up", "- sleep infinity"))
    builder = subprocess.Popen([*CLI, "up", str(slow), "--name", name])
    wait_until("the lab is being built", lambda: len(leftovers.processes_of(name)) >= 7)
    builder.kill()
    builder.wait()
    assert nothing_left(name) != ""
    again = labs.up(topology.read(PLAIN, {}, name))
    assert again.node("host-east").reaches("10.9.2.2")


@pytest.mark.parametrize("processes", [1, 2, 4, 6, 8])
def test_down_removes_what_a_killed_builder_left(name: str, processes: int) -> None:
    builder = subprocess.Popen([*CLI, "up", str(PLAIN), "--name", name], stdout=subprocess.DEVNULL)
    wait_until("the lab is being built", lambda: len(leftovers.processes_of(name)) >= processes or builder.poll() == 0)
    builder.kill()
    builder.wait()
    result = cli("down", name)
    assert result.returncode == 0, result.stderr
    assert nothing_left(name) == ""
    assert not (labs.state_root() / name).exists()


def test_down_takes_along_who_was_put_into_a_namespace_by_hand(plain: labs.Lab) -> None:
    stranger = subprocess.Popen(["ip", "netns", "exec", plain.node("east").netns, "sleep", "1000"])
    inode = os.stat(f"/run/netns/{plain.node('east').netns}").st_ino
    wait_until("it is inside", lambda: os.stat(f"/proc/{stranger.pid}/ns/net").st_ino == inode)
    labs.down(plain.name)
    assert stranger.wait(timeout=5) == -signal.SIGKILL
    assert nothing_left(plain.name) == ""


def test_down_takes_along_what_is_stopped(plain: labs.Lab) -> None:
    """Its nsenter stops with it, and would never reap it."""
    process = plain.node("east").start("sleep 1000")
    process.kill(signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    wait_until("it is stopped", lambda: stat.read_text().split()[2] == "T")
    labs.down(plain.name)
    assert nothing_left(plain.name) == ""


def test_a_lab_whose_name_begins_alike_is_left_alone(plain: labs.Lab) -> None:
    other = f"{plain.name}-b"
    try:
        labs.up(topology.read(PLAIN, {}, other))
        labs.down(plain.name)
        assert nothing_left(f"{plain.name}-b") != ""
        assert labs.find(other).node("host-east").reaches("10.9.2.2")
    finally:
        labs.down(other)


def test_only_one_program_at_a_time_has_a_lab(name: str) -> None:
    with labs.locked(name):
        result = cli("up", str(PLAIN), "--name", name)
        assert result.returncode == 1
        assert f"lab {name} is in the hands of another leyline, process {os.getpid()}" in result.stderr


def test_the_command_line(name: str) -> None:
    up = cli("up", str(PLAIN), "--name", name)
    assert up.stdout.startswith(f"lab {name}: 5 nodes, 4 links, "), up.stderr
    assert "is up already" in cli("up", str(PLAIN), "--name", name).stderr
    rows = json.loads(cli("ps", "--json").stdout)
    assert sum(row["processes"] for row in rows if row["lab"] == name) >= 6
    assert cli("exec", "--lab", name, "west", "sh", "-c", "hostname; exit 7").returncode == 7
    assert cli("exec", "--lab", name, "west", "hostname").stdout == "west\n"
    unknown = cli("exec", "--lab", name, "nobody", "true")
    assert unknown.returncode == 1
    assert "has no node 'nobody'; it has segment, east, west" in unknown.stderr
    assert f"{name}: removed" in cli("down", name).stdout
    assert "no lab" in cli("exec", "--lab", name, "west", "true").stderr


def test_a_bad_file_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "bad.clab.yml").write_text("name: x\ntopology: {nodes: {a: {image: debian}}}\n")
    result = cli("up", str(tmp_path / "bad.clab.yml"))
    assert result.returncode == 1
    assert "bad.clab.yml:2: node a: image 'debian' has no tag: pin a version" in result.stderr
    assert "Traceback" not in result.stderr


def test_25_nodes_and_30_links_stand_within_5_seconds(name: str) -> None:
    hosts = [f"h{i}" for i in range(24)]
    links = [f'    - endpoints: ["{h}:eth1", "hub:eth{i}"]' for i, h in enumerate(hosts)]
    links += [f'    - endpoints: ["h{i}:eth2", "h{i + 1}:eth3"]' for i in range(6)]
    nodes = [f'    {h}: {{exec: ["ip address add 10.0.0.{i + 1}/24 dev eth1"]}}' for i, h in enumerate(hosts)]
    bridge = [
        "ip link add br0 type bridge",
        "ip link set br0 up",
        *[f"ip link set eth{i} master br0" for i in range(24)],
    ]
    nodes += [f"    hub: {{exec: {json.dumps(bridge)}}}"]
    head = "name: x\ntopology:\n  defaults: {kind: linux, network-mode: none, image: 'debian:12.11'}\n  nodes:\n"
    text = head + "\n".join(nodes) + "\n  links:\n" + "\n".join(links) + "\n"
    started = time.monotonic()
    lab = labs.up(topology.parse(text, Path("x"), {}, name))
    seconds = time.monotonic() - started
    assert len(lab.nodes) == 25
    assert lab.node("h0").reaches("10.0.0.24")
    assert seconds < 5
