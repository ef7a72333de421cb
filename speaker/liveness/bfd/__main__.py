"""`python -m speaker.liveness.bfd DIRECTORY`: what `leyline speaker bfd` becomes. Standard library only."""

from __future__ import annotations

import sys
from pathlib import Path

from speaker.liveness.bfd.daemon import InUse, main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m speaker.liveness.bfd DIRECTORY")
    try:
        main(Path(sys.argv[1]))
    except InUse as error:
        sys.exit(f"leyline-bfd: {error}")
