"""Makes the nodes of a lab: one process per node, PID 1 of its own PID namespace.

Started as `python -I -m lab.holder`; reads one JSON object on stdin, answers a JSON line per node:
{"node": name, "pid": its init, as the machine sees it} or {"node": name, "error": text}.
Killing a node's init is killing the node: the kernel takes every process of its PID namespace along.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from lab import linux

PRIVATE = ("/run", "/var/lib/frr", "/var/log/frr")
"""Written by the daemons of every node, so each node has its own, empty."""


def main() -> int:
    request = json.load(sys.stdin)
    makers = {node["name"]: start_maker(node) for node in request["nodes"]}
    for name, (pid, reader) in makers.items():
        print(json.dumps({"node": name, **read_answer(reader)}), flush=True)
        os.waitpid(pid, 0)
    return 0


def read_answer(reader: int) -> dict[str, Any]:
    """What the maker and the init wrote: {"pid": n} and {"ready": true} or {"error": text}, a line each."""
    answer: dict[str, Any] = {}
    with os.fdopen(reader) as pipe:
        for line in pipe:
            answer.update(json.loads(line))
    return answer if answer.keys() & {"ready", "error"} else {**answer, "error": "died while it was made"}


def start_maker(node: dict[str, Any]) -> tuple[int, int]:
    """Fork the node's maker; (its pid, pipe on which the answer comes). It ends when the node's init stands."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        make_node(node, writer)
    except OSError as error:
        say(writer, {"error": str(error)})
    os._exit(0)


def say(writer: int, answer: dict[str, Any]) -> None:
    os.write(writer, json.dumps(answer).encode() + b"\n")


def make_node(node: dict[str, Any], writer: int) -> None:
    """In the maker: the namespaces, and the init in them. The name comes first, so that whatever dies can be found."""
    linux.unshare(linux.CLONE_NEWNET)
    linux.name_netns(node["netns"])
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC | linux.CLONE_NEWPID)
    pid = os.fork()
    if pid:
        say(writer, {"pid": pid})
        return
    try:
        furnish(node)
    except OSError as error:
        say(writer, {"error": str(error)})
        os._exit(1)
    say(writer, {"ready": True})
    become_init(node["name"])


def furnish(node: dict[str, Any]) -> None:
    """Mounts and host name. Sources of binds are opened before /run is covered, because they may be in it."""
    socket.sethostname(node["name"])
    linux.mount("", "/", "none", linux.MS_SLAVE | linux.MS_REC)
    sources = {bind["target"]: os.open(bind["source"], os.O_PATH | os.O_CLOEXEC) for bind in node["binds"]}
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV)
    linux.unmount(str(linux.NETNS_DIR))
    for path in PRIVATE:
        if os.path.isdir(path):
            linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755")
    linux.mount("sysfs", "/sys", "sysfs", linux.MS_NOSUID | linux.MS_NODEV)
    # What is missing is made in a cover over its directory, which would hide what has been bound there before.
    for bind in sorted(node["binds"], key=lambda bind: os.path.exists(bind["target"])):
        attach(sources[bind["target"]], bind["target"], bind["read_only"])
    name_files(node["name"], taken=set(sources))


def name_files(name: str, taken: set[str]) -> None:
    """As a container has them: a node knows its own name without asking anybody, and has nobody to ask."""
    os.makedirs("/run/.lab", exist_ok=True)
    files = {
        "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n",
        "/etc/resolv.conf": "# A lab has no name server.\n",
    }
    for path, text in files.items():
        if path in taken:
            continue
        own = Path("/run/.lab", Path(path).name)
        own.write_text(text)
        target = os.path.realpath(path)  # resolv.conf may be a link into /run, which is the node's own by now.
        make_target(target, directory=False)
        linux.mount(str(own), target, "none", linux.MS_BIND)


def attach(source: int, target: str, read_only: bool) -> None:
    path = f"/proc/self/fd/{source}"
    make_target(target, directory=os.path.isdir(path))
    linux.mount(path, target, "none", linux.MS_BIND | linux.MS_REC)
    if read_only:
        linux.mount("none", target, "none", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    os.close(source)


def make_target(target: str, directory: bool) -> None:
    """A place to mount on, as a container has it; never made in this machine's own file system."""
    if os.path.exists(target):
        return
    parents = [parent for parent in Path(target).parents if parent.is_dir()]
    if not is_private(parents[0]):
        cover(str(parents[0]))
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if directory else path.touch()


def is_private(directory: Path) -> bool:
    """Is it in one of the node's own tmpfs or overlays?"""
    covered = (*PRIVATE, *_covered)
    return any(directory == Path(path) or Path(path) in directory.parents for path in covered if os.path.ismount(path))


_covered: list[str] = []


def cover(directory: str) -> None:
    """Lay a writable layer of the node's own over `directory`."""
    if directory == "/":
        raise OSError(0, "a bind's target must be inside an existing directory, or below /run")
    layer = f"/run/.lab{directory}"
    for part in ("upper", "work"):
        os.makedirs(f"{layer}/{part}", exist_ok=True)
    options = f"lowerdir={directory},upperdir={layer}/upper,workdir={layer}/work"
    linux.mount("overlay", directory, "overlay", 0, options)
    _covered.append(directory)


def become_init(name: str) -> None:
    """PID 1 of the node: reaps, and stays until it is killed."""
    os.setsid()
    linux.name_process(f"lab:{name}")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, 1024)
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


if __name__ == "__main__":
    sys.exit(main())
