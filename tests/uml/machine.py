"""A second kernel for tests: Debian's user-mode-linux on this machine's own file system.

It has what the kernel of a container host may lack (MPLS, VRF, netem, nftables `bridge`), one CPU, a clock
of 100 Hz, and forks at about 85 ms: prefer `ip -batch` and netlink. /run and TMPDIR inside are its own;
everything else is this machine's file system, and what is written there stays.

The whole machine lives in a process and a mount namespace of its own that die with the caller, however it
dies: no process and no mount is left. Of a killed caller a directory of three small files stays until the next run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
KERNEL = "/usr/bin/linux.uml"
MEMORY_MB = 512
NETWORK = ("ipv6", "veth", "bridge", "mpls_router", "mpls_iptunnel", "nf_tables")

WITHOUT_AVX = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load",
    "OPENSSL_ia32cap": "~0x1000000000000000:0",
}
"""The machine loses the AVX registers of a process at every page fault; see launch.py."""


class Result(NamedTuple):
    status: int | None  # Exit status of the command; None when the machine did not come to its end.
    output: str  # Of the console: the kernel's complaints, and both streams of the command.


def run(command: Sequence[str], *, modules: Sequence[str] = NETWORK, timeout: float = 120) -> Result:
    """Boot, load `modules`, run `command` as root in the repository, halt. Needs root.

    After `timeout` seconds the machine is killed and the status is None.
    """
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=f"ll-uml-{os.getpid()}-") as directory:
        memory, init = Path(directory, "memory"), Path(directory, "init")
        memory.mkdir()
        init.write_text(_init(Path(directory, "status"), modules, command))
        init.chmod(0o755)
        console = Path(directory, "console")
        with console.open("wb") as output:
            machine = subprocess.Popen(
                _boot(memory, init),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # A kernel that panics kills its process group.
            )
            try:
                machine.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                machine.kill()  # Its namespace goes with it.
                machine.wait()
        status = Path(directory, "status")
        text = console.read_text(errors="replace").replace("\r\n", "\n")
        return Result(int(status.read_text()) if status.exists() else None, text)


def run_pytest(*arguments: str, timeout: float = 120) -> Result:
    """`pytest ARGUMENTS` inside."""
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--color=no",
        *arguments,
    )
    return run(command, timeout=timeout)


def remove_leftovers() -> None:
    """The directories of callers that are gone."""
    for directory in Path(tempfile.gettempdir()).glob("ll-uml-*"):
        pid = directory.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(directory, ignore_errors=True)


def _boot(memory: Path, init: Path) -> list[str]:
    """The command that is the machine: when it dies, or its parent, the kernel ends whatever runs in it.

    UML keeps its memory in an executable tmpfs, which a container's /dev/shm is not. The shell stays as the
    namespace's process 1: UML could not abort after a panic if it were that itself.
    """
    linux = [
        KERNEL,
        f"mem={MEMORY_MB}M",
        f"umid={init.parent.name}",
        f"uml_dir={memory}",
        "root=/dev/root",
        "rootfstype=hostfs",
        "rw",
        f"init={init}",
        "con=null",
        "con0=null,fd:1",
        "quiet",
    ]
    launch = shlex.join([sys.executable, str(Path(__file__).with_name("launch.py")), *linux])
    mount = f"mount -t tmpfs -o size={MEMORY_MB + 64}m leyline-uml {memory} && TMPDIR={memory} {launch}; exit $?"
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", mount]
    return ["setpriv", "--pdeathsig", "KILL", *isolated]


def _init(status: Path, modules: Sequence[str], command: Sequence[str]) -> str:
    arguments = [sys.executable, "-m", "tests.uml.init", str(status), ",".join(modules), *command]
    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1", **WITHOUT_AVX}
    variables = [f"{name}={value}" for name, value in environment.items()]
    return f"#!/bin/sh\ncd {shlex.quote(str(REPOSITORY))} && exec env -i {shlex.join([*variables, *arguments])}\n"
