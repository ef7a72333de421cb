"""The contract suite of tests/speaker/kernel on a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.kernel_world import LinuxWorld, linux_world
from tests.speaker.kernel.contract import KernelContract

pytestmark = pytest.mark.root


class TestLinux(KernelContract):
    @pytest.fixture
    def world(self) -> Iterator[LinuxWorld]:
        with linux_world() as world:
            yield world
