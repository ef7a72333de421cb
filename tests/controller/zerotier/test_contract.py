"""The adapters keep the port's promises with recorded answers, with both fakes, and with a real zerotier-one."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller.zerotier.central import Central
from controller.zerotier.port import ManagedRoute, NetworkChange, Pool
from controller.zerotier.selfhosted import SelfHosted
from tests.controller.zerotier import real
from tests.controller.zerotier.contract import SEGMENT, STATEFUL, STORY, Subject
from tests.controller.zerotier.fake import FakeWorld
from tests.controller.zerotier.fake_central import BASE, FakeCentral
from tests.controller.zerotier.fake_http import Answers, transport
from tests.controller.zerotier.recordings import CONTROLLER, FIXTURE
from tests.controller.zerotier.replay import TOKEN, Replay

Check = Callable[[Subject], None]
ONE_POOL = (Pool(IPv4Address("10.43.1.1"), IPv4Address("10.43.1.254")),)
FIXED = NetworkChange(name="fixture", private=True, routes=(ManagedRoute(SEGMENT),), pools=ONE_POOL)
GONE = "15fef3"


def selfhosted(fake: Answers) -> Callable[[str, str], SelfHosted]:
    return lambda network, token: SelfHosted(
        "http://127.0.0.1:9993", token, network, transport=transport(fake), sleep=lambda _seconds: None
    )


def central(fake: FakeCentral) -> Callable[[str, str], Central]:
    """Waiting moves the fake's clock, so that its rate limit is felt and obeyed."""

    def sleep(seconds: float) -> None:
        fake.now += int(seconds * 1000) + 1

    return lambda network, token: Central(
        token, network, f"https://central.example{BASE}", transport=transport(fake), sleep=sleep
    )


@pytest.mark.parametrize("check", STORY)
def test_recorded_answers(check: Check) -> None:
    check(Subject(FIXTURE, selfhosted(Replay()), TOKEN, f"{CONTROLLER}{GONE}"))


@pytest.mark.parametrize("check", STORY + STATEFUL)
def test_fake(check: Check) -> None:
    node = FakeWorld().node(CONTROLLER, TOKEN)
    subject = Subject(FIXTURE, selfhosted(node), TOKEN, f"{CONTROLLER}{GONE}")
    subject.segment.write_network(FIXED)  # Makes it.
    check(subject)


@pytest.mark.parametrize("check", STORY + STATEFUL)
def test_fake_central(check: Check) -> None:
    fake = FakeCentral(TOKEN)
    network = fake.make_network("")
    subject = Subject(network, central(fake), TOKEN, f"{network[:10]}{GONE}")
    subject.segment.write_network(FIXED)
    check(subject)


@pytest.mark.zerotier
def test_real(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Each check with a network of its own, which the check's first write makes."""
    if reason := real.why_not():
        pytest.skip(reason)
    with real.running(tmp_path) as there:
        for number, check in enumerate(STORY + STATEFUL):
            subject = Subject(
                f"{there.address}{number + 0xA00000:06x}",
                lambda network, token: SelfHosted(there.url, token, network),
                there.token,
                f"{there.address}{GONE}",
            )
            with subtests.test(check=check.__name__):
                subject.segment.write_network(FIXED)
                check(subject)
