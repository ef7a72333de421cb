"""Process 1 of the test machine (see machine.py): mounts, modules, one command, its status, power off.

usage: init.py STATUS-FILE MODULE,MODULE... COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import traceback
from pathlib import Path

MODULES = "/usr/lib/uml"
MOUNTS = (  # /dev is the kernel's own already.
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
)
POWER_OFF = 0x4321FEDC
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    status = 125
    try:
        for kind, where in MOUNTS:
            if where == "/dev/shm":
                Path(where).mkdir(exist_ok=True)
            _mount(kind, where)
        Path("/run/tmp").mkdir()
        os.environ["TMPDIR"] = "/run/tmp"
        os.environ["LEYLINE_UML"] = "1"
        _load(sys.argv[2].split(","))
        status = subprocess.run(sys.argv[3:], stdin=subprocess.DEVNULL, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        traceback.print_exc()
    finally:
        Path(sys.argv[1]).write_text(f"{status}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os.sync()
        _libc.reboot(POWER_OFF)


def _mount(kind: str, where: str) -> None:
    if _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), f"mount -t {kind} {where}")


def _load(modules: list[str]) -> None:
    """Debian keeps them where modprobe looks for `/lib/modules` of another root."""
    release = os.uname().release
    where = Path("/run/modules/lib/modules")
    where.mkdir(parents=True)
    (where / release).symlink_to(f"{MODULES}/modules/{release}")
    subprocess.run(["modprobe", "-d", "/run/modules", "-a", *modules], check=True)


if __name__ == "__main__":
    main()
