"""Address space from which nothing is taken, whoever announces it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from speaker.rib.facts import RouterFacts
from speaker.rib.prefix import Family, Key
from speaker.rib.reasons import CONNECTED, INSIDE_SEGMENT, MARTIAN, UNDERLAY
from speaker.rib.spans import Network, Spans
from speaker.rib.steps import Marks
from speaker.rib.underlay import covering

MARTIANS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/16", "fe80::/10", "ff00::/8")
)


class Portion(NamedTuple):
    """Keys of one batch that deserve the same."""

    reason: str  # "" for the accepted ones.
    keys: Sequence[Key]
    marks: Marks = ()


@dataclass(frozen=True)
class Denials:
    """Address space that is refused, in order of precedence. The usual batch touches none of it and costs little."""

    rules: tuple[tuple[str, frozenset[Network]], ...]
    connected: frozenset[Network]  # Not refused everywhere: a hub sends on what lies in it.
    _spans: dict[Family, tuple[Spans, list[tuple[str, Spans]], Spans]] = field(init=False, repr=False, compare=False)
    _above_underlay: dict[Family, frozenset[Key]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spans = {}
        for family, version in ((Family.IPV4, 4), (Family.IPV6, 6)):
            rules = [(reason, [n for n in networks if n.version == version]) for reason, networks in self.rules]
            lans = [network for network in self.connected if network.version == version]
            everything = Spans.covering([*lans, *(network for _, networks in rules for network in networks)])
            refused = [(reason, Spans.covering(networks)) for reason, networks in rules]
            spans[family] = everything, refused, Spans.covering(lans)
        underlay = [network for reason, networks in self.rules if reason == UNDERLAY for network in networks]
        object.__setattr__(self, "_spans", spans)
        object.__setattr__(self, "_above_underlay", covering(underlay))

    def portions(
        self,
        family: Family,
        keys: Sequence[Key],
        otherwise: str = "",
        connected: str = CONNECTED,
        declared: frozenset[Key] | None = frozenset(),
    ) -> list[Portion]:
        """`keys` by why they are refused; those that are not, `otherwise`. A portion may be empty.

        `declared`: those that may cover the underlay; None: all. A default route contains everything; whether it is
        taken is another question.

        What is connected comes last, as it may still be sent on: nothing else may be wrong with it.
        """
        everything, refused, lans = self._spans[family]
        above = frozenset() if declared is None else self._above_underlay[family]
        portions: list[Portion] = []
        touched = everything.touches(keys)
        if touched:
            for reason, spans in refused:
                inside, keys = spans.split(keys)
                portions.append(Portion(reason, inside))
        if above and not above.isdisjoint(keys):
            refused_above = above - (declared or frozenset())
            portions.append(Portion(UNDERLAY, [key for key in keys if key in refused_above]))
            keys = [key for key in keys if key not in refused_above]
        if touched:
            inside, keys = lans.split(keys)
            portions.append(Portion(connected, inside))
        return [*portions, Portion(otherwise, keys)]


def denials(facts: RouterFacts) -> Denials:
    return _denials(facts.segments, facts.underlay, facts.connected)


@lru_cache(maxsize=16)
def _denials(segments: frozenset[Network], underlay: frozenset[Network], connected: frozenset[Network]) -> Denials:
    """The same for all peers of a router, and not cheap to make: 6 ms each add up over hundreds of peers."""
    return Denials(
        (
            (MARTIAN, frozenset(MARTIANS)),
            (INSIDE_SEGMENT, segments),
            (UNDERLAY, underlay),
        ),
        connected,
    )
