"""`python -m tests.controller.zerotier`: the contract with a real zerotier-one; one JSON object on stdout.

Exit 0: it holds; 1: it does not, stderr says where; 77: there is no zerotier-one here.
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
        code = pytest.main(["-q", "-m", "zerotier", str(Path(__file__).parent)])
    print(json.dumps({"ok": code == pytest.ExitCode.OK}))
    return 0 if code == pytest.ExitCode.OK else 1


if __name__ == "__main__":
    sys.exit(main())
