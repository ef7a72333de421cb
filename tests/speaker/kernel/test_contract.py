"""The contract, on the kernel in memory. tests/netns/test_kernel_contract.py runs it on a real one."""

from __future__ import annotations

import pytest

from tests.speaker.kernel.contract import KernelContract
from tests.speaker.kernel.world import FakeWorld


class TestFakeKernel(KernelContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
