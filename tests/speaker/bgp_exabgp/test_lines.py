from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speaker.bgp.lines import split_lines


@given(st.lists(st.binary(max_size=6), max_size=20), st.lists(st.integers(0, 60), max_size=10))
def test_lines_are_the_same_however_they_arrive(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"\n".join(part.replace(b"\n", b"") for part in parts)
    ends = sorted(min(cut, len(stream)) for cut in cuts)
    rest: list[bytes] = []
    lines: list[bytes] = []
    for start, end in zip([0, *ends], [*ends, len(stream)], strict=True):
        lines += split_lines(rest, stream[start:end])
    assert [*lines, b"".join(rest)] == stream.split(b"\n")
