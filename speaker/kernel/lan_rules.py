"""Rules that lead traffic from LAN interfaces, and nothing else, to routes that would capture ZeroTier's own packets.

Such routes stand in TABLE_LAN, which only these rules look up: for what comes in by an interface with a LAN of ours.
What this box sends itself, ZeroTier's packets above all, never sees them. Of table main and TABLE_LAN together the
longest match wins, as if they were one table, table main's own where two are equal; but the default route of TABLE_LAN
comes before table main's, which is how ZeroTier's packets leave.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing

from speaker.kernel import rule_messages as codec
from speaker.kernel.parse import Malformed
from speaker.kernel.port import TABLE_LAN, TABLE_MAIN, KernelError
from speaker.kernel.rule_messages import Found, LanRule
from speaker.kernel.socket import LinuxKernel
from speaker.rib.prefix import Family

FIRST_PRIORITY = 7600
"""Two for each prefix length, the longest first: up to 7857, before the kernel's own rule for table main (32766)."""


def lan_rules(lengths: Mapping[Family, Collection[int]], interfaces: Iterable[str]) -> frozenset[LanRule]:
    """Two rules for each interface and each prefix length of a route in TABLE_LAN. Pure.

    First table main, what is shorter than the length not counted, then TABLE_LAN in the same way. An `unreachable`
    route of table main ends the search, so declared space without a route stays unreachable.
    """
    names = sorted(set(interfaces))
    return frozenset(rule for family in Family for n in lengths[family] for rule in _of_length(family, n, names))


def _of_length(family: Family, length: int, interfaces: Iterable[str]) -> Iterator[LanRule]:
    priority = FIRST_PRIORITY + 2 * (128 - length)
    for name in interfaces:
        yield LanRule(family, name, priority, TABLE_MAIN, max(length - 1, 0))
        yield LanRule(family, name, priority + 1, TABLE_LAN, length - 1 if length else None)


def changes(actual: Iterable[Found], wanted: frozenset[LanRule], *, may_remove: bool) -> list[bytes]:
    """Requests that turn our `actual` rules, in the kernel's order, into `wanted`. New ones go in before others go out.

    Never is a rule for TABLE_LAN there without the one for table main before it: all would go by the default. Pure.
    """
    standing: set[LanRule] = set()
    extra: list[Found] = []
    for each in actual:
        if each.rule is None or each.rule not in wanted or each.rule in standing:
            extra.append(each)
        else:
            standing.add(each.rule)
    requests = [codec.put(rule) for rule in sorted(wanted - standing, key=_order)]
    return requests + [codec.delete(each) for each in reversed(extra) if may_remove]


def _order(rule: LanRule) -> tuple[str, int, str]:
    return rule.family.value, rule.priority, rule.interface


class LanRuleTable:
    """The rules of this network namespace with protocol 76. Others are never touched.

    Holds nothing: every call reads the kernel, so what a former process left is taken over, and what is right stays.
    """

    def apply(self, wanted: frozenset[LanRule], *, may_remove: bool = True) -> list[str]:
        """Bring the kernel to `wanted`; others of ours go out only if it `may_remove`. Blocks. Returns what failed."""
        try:
            with closing(_RuleKernel()) as kernel:
                requests = changes(kernel.rules(), wanted, may_remove=may_remove)
                return [fault.text for fault in kernel.submit(b"".join(requests))] if requests else []
        except (KernelError, Malformed) as error:
            return [str(error)]


class _RuleKernel(LinuxKernel):
    """The socket with one dump more."""

    def rules(self) -> list[Found]:
        """Raises KernelError, Malformed."""
        buffers = [buffer for n, family in enumerate(Family, 1) for buffer in self._dump(codec.dump(family, n), n)]
        return [each for buffer in buffers for each in codec.found(buffer)]
