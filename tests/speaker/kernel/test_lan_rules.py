"""Which rules there are for routes that stand aside, as bytes, and what the kernel makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speaker.agent.lan_table import LanTable
from speaker.kernel import messages as m
from speaker.kernel import rule_messages as codec
from speaker.kernel.lan_rules import LanRuleTable, changes, lan_rules
from speaker.kernel.parse import Malformed
from speaker.kernel.port import TABLE_LAN, TABLE_MAIN
from speaker.kernel.rule_messages import Found, LanRule
from speaker.rib.prefix import Family

V4, V6 = Family.IPV4, Family.IPV6
NOTHING: Mapping[Family, frozenset[int]] = {V4: frozenset(), V6: frozenset()}
DEFAULT = {V4: {0}, V6: set[int]()}
BOTH = {V4: {0, 22}, V6: {0}}


def standing(*rules: LanRule) -> list[Found]:
    """As the kernel lists them."""
    ordered = sorted(rules, key=lambda rule: (rule.family.value, rule.priority, rule.interface))
    return [found for rule in ordered for found in as_dumped(codec.put(rule))]


def as_dumped(message: bytes) -> list[Found]:
    return list(codec.found(message))


def test_a_default_route_is_asked_for_after_all_that_table_main_knows_but_its_own_default() -> None:
    assert lan_rules(DEFAULT, ["eth1"]) == {
        LanRule(V4, "eth1", 7856, TABLE_MAIN, 0),
        LanRule(V4, "eth1", 7857, TABLE_LAN, None),
    }


def test_none_where_nothing_stands_aside_or_no_lan_is() -> None:
    assert lan_rules(NOTHING, ["eth1"]) == lan_rules(BOTH, []) == frozenset()


ROUTES = [IPv4Network(text) for text in ("0.0.0.0/0", "8.0.0.0/6", "10.0.0.0/8", "10.64.0.0/10", "10.64.0.0/16")]
tables = st.frozensets(st.sampled_from(ROUTES))


@given(
    tables, tables, st.sampled_from([IPv4Address(text) for text in ("10.64.0.1", "10.80.0.1", "9.0.0.1", "1.1.1.1")])
)
def test_the_longest_match_of_both_tables_wins(
    main: frozenset[IPv4Network], aside: frozenset[IPv4Network], address: IPv4Address
) -> None:
    """Table main's own where two are equal, but for the default route."""
    rules = lan_rules({V4: {each.prefixlen for each in aside}, V6: ()}, ["eth1"])
    candidates = [(each.prefixlen, 1, "main") for each in main if address in each]
    candidates += [(each.prefixlen, 0 if each.prefixlen else 2, "aside") for each in aside if address in each]
    assert looked_up(rules, {TABLE_MAIN: main, TABLE_LAN: aside}, address) == max(candidates, default=(0, 0, None))[2]


def looked_up(
    rules: frozenset[LanRule], routes: Mapping[int, frozenset[IPv4Network]], address: IPv4Address
) -> str | None:
    """As net/core/fib_rules.c and fib4_rule_suppress do it."""
    last = LanRule(V4, "", 32766, TABLE_MAIN)
    for rule in (*sorted(rules, key=lambda rule: rule.priority), last):
        longest = max((each.prefixlen for each in routes[rule.table] if address in each), default=None)
        if longest is not None and (rule.suppress is None or longest > rule.suppress):
            return "main" if rule.table == TABLE_MAIN else "aside"
    return None


rules_of_ours = st.builds(
    LanRule,
    st.sampled_from(Family),
    st.sampled_from(["eth1", "a23456789012345"]),
    st.integers(1, 32765),
    st.sampled_from([TABLE_MAIN, TABLE_LAN]),
    st.none() | st.integers(0, 127),
)


@given(rules_of_ours)
def test_a_rule_is_read_as_it_was_written(rule: LanRule) -> None:
    ((read, body),) = as_dumped(codec.put(rule))
    assert read == rule
    assert as_dumped(codec.delete(Found(rule, body))) == []  # No answer to a dump.
    assert codec.delete(Found(rule, body)).endswith(body)


def test_the_kernels_own_words_are_understood() -> None:
    """As Linux 6.1 lists it: other order, interface not there now (flag 8)."""
    rule = LanRule(V4, "eth1", 7857, TABLE_LAN)
    body = (
        codec.RULE.pack(m.AF_INET, 0, 0, 0, 252, 0, 0, 1, 8)
        + m.ATTRIBUTE_U32.pack(8, codec.FRA_TABLE, TABLE_LAN)
        + m.ATTRIBUTE_U32.pack(8, codec.FRA_SUPPRESS_PREFIXLEN, codec.NONE)
        + m.ATTRIBUTE.pack(5, codec.FRA_PROTOCOL)
        + bytes((76, 0, 0, 0))
        + m.ATTRIBUTE_U32.pack(8, codec.FRA_PRIORITY, 7857)
        + m.ATTRIBUTE.pack(9, codec.FRA_IIFNAME)
        + b"eth1\0\0\0\0"
    )
    assert as_dumped(m.HEADER.pack(16 + len(body), codec.RTM_NEWRULE, 0, 1, 0) + body) == [Found(rule, body)]


@pytest.mark.parametrize(
    "more",
    [
        m.ATTRIBUTE_U32.pack(8, 10, 7),  # FRA_FWMARK
        m.ATTRIBUTE.pack(8, 2) + bytes((10, 0, 0, 0)),  # FRA_SRC
    ],
)
def test_a_rule_that_says_more_is_none_of_those_we_want(more: bytes) -> None:
    rule = next(iter(lan_rules(DEFAULT, ["eth1"])))
    body = codec.put(rule)[16:] + more
    (found,) = as_dumped(m.HEADER.pack(16 + len(body), codec.RTM_NEWRULE, 0, 1, 0) + body)
    assert found.rule is None
    assert changes([found], frozenset({rule}), may_remove=True) == [codec.put(rule), codec.delete(found)]


def test_foreign_rules_are_not_seen_and_nonsense_is_said() -> None:
    theirs = codec.put(LanRule(V4, "eth1", 100, 100))[:-4] + bytes((3, 0, 0, 0))
    assert as_dumped(theirs) == []
    with pytest.raises(Malformed):
        as_dumped(m.HEADER.pack(20, codec.RTM_NEWRULE, 0, 1, 0) + bytes(4))


def test_new_ones_go_in_first_and_others_out_only_when_they_may() -> None:
    before, wanted = lan_rules(DEFAULT, ["eth1"]), lan_rules(BOTH, ["eth2"])
    requests = changes(standing(*before), wanted, may_remove=True)
    assert [int.from_bytes(each[4:6], "little") for each in requests] == [codec.RTM_NEWRULE] * 6 + [
        codec.RTM_DELRULE
    ] * 2
    assert changes(standing(*before), wanted, may_remove=False) == requests[:6]
    assert changes(standing(*wanted), wanted, may_remove=True) == []


def test_what_is_there_twice_goes_once() -> None:
    wanted = lan_rules(DEFAULT, ["eth1"])
    assert len(changes(standing(*wanted, *wanted), wanted, may_remove=True)) == 2


@given(st.frozensets(st.sampled_from(sorted(lan_rules(BOTH, ["eth1", "eth2"]), key=str))), st.booleans())
def test_never_does_table_lan_come_before_table_main(start: frozenset[LanRule], needed: bool) -> None:
    """Whatever was there in pairs, at every step each rule for TABLE_LAN has its one for table main before it."""
    paired = {rule for rule in start if partner(rule) in start}
    wanted = lan_rules(BOTH, ["eth1"]) if needed else frozenset()
    kernel = set(paired)
    for request in changes(standing(*paired), wanted, may_remove=True):
        ((rule, _),) = as_dumped(request[:4] + codec.RTM_NEWRULE.to_bytes(2, "little") + request[6:])
        assert rule is not None
        kernel ^= {rule}
        assert all(partner(each) in kernel for each in kernel if each.table == TABLE_LAN)
    assert kernel == wanted


def partner(rule: LanRule) -> LanRule:
    """Of a rule for table main the one for TABLE_LAN behind it, and the other way round."""
    return next(
        each
        for each in lan_rules(BOTH, ["eth1", "eth2"])
        if each.family is rule.family and each.interface == rule.interface
        if each.priority == rule.priority + (1 if rule.table == TABLE_MAIN else -1)
    )


class Recording(LanRuleTable):
    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.errors: list[str] = []

    def apply(self, wanted: frozenset[LanRule], *, may_remove: bool = True) -> list[str]:
        self.calls.append((len(wanted), may_remove))
        return self.errors


def test_the_kernel_is_asked_when_something_moved() -> None:
    recording = Recording()

    async def scenario() -> None:
        table = LanTable(recording)
        for lengths, may_remove in ((NOTHING, False), (DEFAULT, False), (DEFAULT, False), (DEFAULT, True)):
            await table.follow(lengths, ["eth1"], may_remove=may_remove)
        recording.errors = ["no such device"]
        for lengths in (NOTHING, NOTHING):
            await table.follow(lengths, ["eth1"], may_remove=True)

    asyncio.run(scenario())
    assert recording.calls == [(0, False), (2, False), (2, True), (0, True)]
