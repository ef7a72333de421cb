"""`python -m tests.controller.zerotier`: the contract with a real zerotier-one; one JSON object on stdout.

Exit 0: it holds; 1: it does not, stderr says where; 77: there is no zerotier-one here, or one without a controller.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from tests.controller.zerotier import real

SKIPPED = 77


def main() -> int:
    if reason := real.why_not():
        print(json.dumps({"ok": None, "skipped": reason}))
        return SKIPPED
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main(["-q", "-m", "zerotier", *map(str, marked())])
    print(json.dumps({"ok": code == pytest.ExitCode.OK}))
    return 0 if code == pytest.ExitCode.OK else 1


def marked() -> list[Path]:
    """Files with tests of a real one: what is wrong in another file is no word about the contract."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    return [file for file in files if "@pytest.mark.zerotier\n" in file.read_text()]


if __name__ == "__main__":
    sys.exit(main())
