"""Files in the home of a ZeroTier service, which may run as a user of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, data: bytes, new_mode: int) -> None:
    """Whole or not at all. Owner and mode are those of what stood there; else the directory's owner and `new_mode`.

    Raises OSError, and then what stood there stands.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _like(file.fileno(), path, new_mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _like(descriptor: int, path: Path, new_mode: int) -> None:
    try:
        example = path.stat()
        mode = example.st_mode & 0o777
    except FileNotFoundError:
        example, mode = path.parent.stat(), new_mode
    if (example.st_uid, example.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, example.st_uid, example.st_gid)
    os.fchmod(descriptor, mode)
