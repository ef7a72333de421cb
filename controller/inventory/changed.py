"""What differs between two lists of objects, when that is little: most objects are the very same ones."""

from __future__ import annotations

from typing import Any


def apart(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """(what only `old` has, what only `new` has), by identity: what moved, or is an equal copy, may be in both."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    before, after = set(map(id, old)), set(map(id, new))
    return [each for each in old if id(each) not in after], [each for each in new if id(each) not in before]


def _common(a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
    """How many of the first are equal. Halves: whole slices are compared at the speed of C while they are the same."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
