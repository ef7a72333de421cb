"""Static matching, by tables; the whole of rules is compared with the oracle elsewhere."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.matching import Origin, in_order, in_range, origin_matches, prefix_matches, viewer_matches
from controller.inventory.model import Action, Match, PrefixMatch, Rule, Site, Viewer

BERLIN = Origin("berlin-1", "berlin", "eu", ("dc", "edge"), "fiber")


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (Match(), True),
        (Match(sites=("paris", "berlin")), True),
        (Match(sites=("paris",)), False),
        (Match(regions=("us",)), False),
        (Match(tags=("lab", "edge")), True),
        (Match(tags=("lab",)), False),
        (Match(gateways=("berlin-2",)), False),
        (Match(circuit_classes=("lte", "fiber")), True),
        (Match(sites=("berlin",), circuit_classes=("lte",)), False),
    ],
)
def test_of_each_list_one_is_enough_and_all_lists_must_hold(match: Match, matches: bool) -> None:
    assert origin_matches(match, BERLIN) is matches


@pytest.mark.parametrize(
    ("viewer", "matches"),
    [
        (Viewer(), True),
        (Viewer(sites=("berlin",)), True),
        (Viewer(regions=("us",)), False),
        (Viewer(tags=("dc",)), True),
        (Viewer(regions=("eu",), tags=("lab",)), False),
    ],
)
def test_a_viewer_is_who_its_site_is(viewer: Viewer, matches: bool) -> None:
    assert viewer_matches(viewer, Site("berlin", "eu", tags=("dc",))) is matches


networks = st.builds(
    lambda address, length: ip_network((address >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(outer=networks, inner=networks, ge=st.integers(0, 32), le=st.integers(0, 32))
def test_a_range_is_inside_and_of_a_length(outer: IPv4Network, inner: IPv4Network, ge: int, le: int) -> None:
    assert in_range(PrefixMatch(outer, ge, le), inner) == (inner.subnet_of(outer) and ge <= inner.prefixlen <= le)


def test_families_do_not_match_each_other() -> None:
    assert not prefix_matches((PrefixMatch(ip_network("0.0.0.0/0"), 0, 128),), ip_network("2001:db8::/32"))
    assert prefix_matches((), ip_network("2001:db8::/32"))


def test_rules_come_by_order_then_by_name() -> None:
    rules = [Rule("b", Action(deny=True)), Rule("c", Action(deny=True), order=5), Rule("a", Action(deny=True))]
    assert [rule.name for rule in in_order(rules)] == ["c", "a", "b"]
