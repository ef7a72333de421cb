"""What holds of neighbour tables, of the fake as of Linux: what tests believe of the one must be so of the other."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

import pytest

from speaker.kernel import neighbour_messages as codec
from speaker.kernel.neighbour_messages import NUD_NOARP, NUD_PERMANENT, Entry, Name
from speaker.kernel.neighbours import NeighbourKernel, NeighbourTable

STALE = 0x04
MAC, OTHER = bytes.fromhex("164baba5ca8b"), bytes.fromhex("1634b8d6b43e")
ADDRESSES = tuple(ip_address(text).packed for text in ("10.42.0.77", "fd42:42::77"))


class NeighbourWorld(Protocol):
    """One interface, `index`, and another program that sets entries there."""

    index: int
    open: Callable[[], NeighbourKernel]

    def place(self, name: Name, mac: bytes, state: int, protocol: int) -> None: ...


@pytest.mark.parametrize("address", ADDRESSES, ids=["IPv4", "IPv6"])
class NeighbourContract:
    def found(self, world: NeighbourWorld, address: bytes) -> Entry | None:
        kernel = world.open()
        try:
            return next((each for each in kernel.entries() if each.name == Name(world.index, address)), None)
        finally:
            kernel.close()

    def apply(self, world: NeighbourWorld, *desired: tuple[bytes, bytes]) -> list[str]:
        table = NeighbourTable(world.open)
        outcome = table.apply({Name(world.index, address): mac for address, mac in desired})
        return outcome.errors

    def test_an_entry_is_set_changed_and_taken_away(self, world: NeighbourWorld, address: bytes) -> None:
        for mac in (MAC, OTHER):
            assert self.apply(world, (address, mac)) == []
            assert self.found(world, address) == Entry(Name(world.index, address), mac, NUD_PERMANENT, 0, 76)
            assert self.apply(world, (address, mac)) == []
        assert self.apply(world) == []
        assert self.found(world, address) is None

    @pytest.mark.parametrize("state", [NUD_PERMANENT, NUD_NOARP])
    @pytest.mark.parametrize("protocol", [0, 4])
    @pytest.mark.parametrize("wanted", [True, False])
    def test_what_another_program_set_stays(
        self, world: NeighbourWorld, address: bytes, state: int, protocol: int, wanted: bool
    ) -> None:
        name = Name(world.index, address)
        world.place(name, OTHER, state, protocol)
        before = self.found(world, address)
        assert before is not None
        assert before.foreign
        assert self.apply(world, *([(address, MAC)] if wanted else [])) == []
        assert self.found(world, address) == before

    def test_what_the_kernel_found_out_gives_way(self, world: NeighbourWorld, address: bytes) -> None:
        world.place(Name(world.index, address), OTHER, STALE, 0)
        assert self.apply(world, (address, MAC)) == []
        entry = self.found(world, address)
        assert entry is not None
        assert entry.holds(MAC)

    def test_ours_that_was_changed_is_put_right(self, world: NeighbourWorld, address: bytes) -> None:
        """Whoever changes it and says no protocol leaves ours on it."""
        name = Name(world.index, address)
        for mac, state in ((OTHER, NUD_PERMANENT), (MAC, STALE)):
            self.apply(world, (address, MAC))
            world.place(name, mac, state, 76)
            assert self.apply(world, (address, MAC)) == []
            entry = self.found(world, address)
            assert entry is not None
            assert entry.holds(MAC)

    def test_deleting_what_is_not_there_is_told(self, world: NeighbourWorld, address: bytes) -> None:
        kernel = world.open()
        try:
            (fault,) = kernel.submit(codec.delete(Name(world.index, address)))
        finally:
            kernel.close()
        assert fault.errno == 2
        assert codec.name_of(fault.message) == Name(world.index, address)

    def test_an_interface_that_is_not_there_is_no_error_of_the_table(
        self, world: NeighbourWorld, address: bytes
    ) -> None:
        outcome = NeighbourTable(world.open).apply({Name(world.index + 1000, address): MAC})
        assert (outcome.errors, outcome.standing) == ([], 0)
