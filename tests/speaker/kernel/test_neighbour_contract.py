"""The contract of neighbour tables on the fake; tests/netns/test_neighbours.py has it on Linux."""

from __future__ import annotations

import pytest

from speaker.kernel.neighbour_messages import Entry, Name
from tests.speaker.kernel.fake_neighbours import FakeNeighbours
from tests.speaker.kernel.neighbour_contract import NeighbourContract


class FakeWorld:
    def __init__(self) -> None:
        self.index = 7
        self.open = FakeNeighbours(self.index)

    def place(self, name: Name, mac: bytes, state: int, protocol: int) -> None:
        self.open.add(Entry(name, mac, state, 0, protocol))


class TestFake(NeighbourContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
