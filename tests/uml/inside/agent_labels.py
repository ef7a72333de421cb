"""The agent's relay labels. Runs on the test machine: see tests/uml/test_relay_labels.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from speaker.agent.labels import Labels
from speaker.kernel.mpls import relay_label
from tests.netns.namespaces import inside
from tests.uml.inside.world import A, B, fabric, ip

LINKS = {"seg": 2}
BOTH = {1: ("seg", A), 2: ("seg", B)}


def follow(labels: Labels, wanted: Mapping[int, tuple[str, str]], *, may_remove: bool = True) -> frozenset[int]:
    with inside("hub"):
        return asyncio.run(labels.follow(wanted, LINKS, may_remove=may_remove))


def shown() -> list[str]:
    return sorted(line.split()[0] for line in ip("route show\n", "hub", "-f", "mpls").splitlines())


def test_what_is_wanted_is_in_force_and_what_another_program_has_is_not() -> None:
    with fabric(configured=False):
        labels = Labels()
        assert labels.pushes
        assert follow(labels, {}) == frozenset()
        assert follow(labels, BOTH) == {1, 2}  # Knobs included: they were at the kernel's defaults.
        assert shown() == [str(relay_label(1)), str(relay_label(2))]
        assert follow(Labels(), {}, may_remove=False) == frozenset()
        assert shown() == [str(relay_label(1)), str(relay_label(2))]

        assert follow(labels, {1: BOTH[1]}) == {1}
        ip(f"route add {relay_label(2)} via inet {A} dev seg proto static\n", "hub", "-f", "mpls")
        assert follow(labels, BOTH) == {1}
        assert shown() == [str(relay_label(1)), str(relay_label(2))]
