"""`want_many` is `want` for each: the same kernel in the end, the same wishes refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speaker.kernel.fake import FakeKernel
from speaker.kernel.fib import Fib
from speaker.rib.path import Member, Tiers
from speaker.rib.prefix import Family, Key

HOPS = (bytes((10, 42, 0, 3)), bytes((10, 42, 0, 4)))
ROUTES: tuple[Tiers | None, ...] = (None, (), ((Member(HOPS[0], 1),),), ((Member(HOPS[0], 1), Member(HOPS[1], 2)),))
KEYS: tuple[Key, ...] = (b"\x00", b"\x18\x0a\x2a\x01", *(bytes((24, 10, 1, n)) for n in range(5)), b"\x10\x0a\x09")

wishes = st.tuples(
    st.lists(st.sampled_from(KEYS), unique=True), st.sampled_from(ROUTES), st.booleans()
)  # keys, what for, flush afterwards


@given(story=st.lists(wishes, max_size=8))
def test_many_wishes_at_once_are_each_of_them(story: list[tuple[list[Key], Tiers | None, bool]]) -> None:
    kernels = FakeKernel(), FakeKernel()
    one, many = (Fib(kernel, ["zt0"], segments=("10.42.0.0/16",)) for kernel in kernels)
    for fib in (one, many):
        fib.set_link("zt0", 1)
        fib.adopt()
        fib.set_may_remove(True)
    for keys, tiers, flush in story:
        refused = [(key, reason) for key in keys if (reason := one.want(Family.IPV4, key, tiers))]
        assert sorted(many.want_many(Family.IPV4, keys, tiers)) == sorted(refused)
        if flush:
            one.flush()
            many.flush()
    assert (one.flush().remaining, one.guarded) == (many.flush().remaining, many.guarded)
    assert kernels[0].routes_by_name == kernels[1].routes_by_name
    assert one.counts() == many.counts()
