"""`make bench [ONLY=name]`: benchmarks against BIRD, FRR and ip -batch; one JSON object a line on stdout.

A ratio over 1 says that we are faster. Figures are medians of three runs with the order alternated,
in one call, on the same routes and cores. A benchmark is no test: being slow fails nothing.
"""

from __future__ import annotations

import importlib
import sys

BENCHES = {
    "announce_1m": "tests.bench.announce",
    "receive_1m": "tests.bench.receive",
    "install_200k": "tests.bench.install",
    "end_to_end_1m": "tests.bench.end_to_end",
    "reflect_200x10k": "tests.bench.reflect",
    "memory_1m": "tests.bench.memory",
    "liveness_load_1m": "tests.bench.liveness_load",
    "whatif_500": "tests.bench.whatif",
    "compile_2000": "tests.bench.compiling",
    "republish_2000": "tests.bench.republish",
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names or BENCHES:
        importlib.import_module(BENCHES[name]).bench()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
