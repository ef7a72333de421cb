"""Since when there is no hub: whatever becomes of the agent, and of its file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from speaker.agent import hubless as module
from speaker.agent.hubless import Hubless, hears_a_hub, may_go
from speaker.agent.sessions import Session
from speaker.rib.prefix import Family
from tests.netns.speakers import to_client, to_hub


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("one\n")
    return path


def noted(hubless: Hubless, *, heard: bool) -> float | None:
    """What it says, and its file as it is then."""

    async def story() -> float | None:
        said = hubless.note(heard=heard)
        task = asyncio.create_task(hubless.run())
        while hubless._due.is_set():
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0.001)
            if hubless._path.exists() is not heard:
                break
        task.cancel()
        return said

    return asyncio.run(asyncio.wait_for(story(), 10))


def test_a_restart_counts_on(tmp_path: Path, boot: Path, clock: Clock) -> None:
    path = tmp_path / "hubless.json"
    assert noted(Hubless(path, boot), heard=False) == 0
    clock.now += 500
    again = Hubless(path, boot)
    assert noted(again, heard=False) == 500
    clock.now += 10
    assert noted(again, heard=False) == 510


def test_a_hub_that_is_heard_ends_it(tmp_path: Path, boot: Path, clock: Clock) -> None:
    path = tmp_path / "hubless.json"
    hubless = Hubless(path, boot)
    noted(hubless, heard=False)
    clock.now += 500
    assert noted(hubless, heard=True) is None
    assert not path.exists()
    clock.now += 500
    assert noted(hubless, heard=False) == 0
    assert noted(Hubless(path, boot), heard=False) == 0


def test_another_boot_begins_anew(tmp_path: Path, boot: Path, clock: Clock) -> None:
    path = tmp_path / "hubless.json"
    noted(Hubless(path, boot), heard=False)
    clock.now += 500
    boot.write_text("two\n")
    assert noted(Hubless(path, boot), heard=False) == 0


JUNK = ("", "{", "[]", "\0\xff", '{"boot":"one"}', '{"since":1.0}')
TIMES = ('"x"', "9e9", "NaN", "-1.0", "true", "null")


@pytest.mark.parametrize("junk", [*JUNK, *(f'{{"boot":"one","since":{each}}}' for each in TIMES)])
def test_a_file_that_says_nothing(junk: str, tmp_path: Path, boot: Path, clock: Clock) -> None:
    path = tmp_path / "hubless.json"
    path.write_text(junk)
    assert noted(Hubless(path, boot), heard=False) == 0
    clock.now += 5
    assert noted(Hubless(path, boot), heard=False) == 5


@pytest.mark.slow
def test_a_disk_that_is_full_stops_nobody(tmp_path: Path, boot: Path, clock: Clock) -> None:
    hubless = Hubless(tmp_path / "not-there" / "hubless.json", boot)
    assert noted(hubless, heard=False) == 0
    clock.now += 5
    assert noted(hubless, heard=False) == 5


@pytest.mark.parametrize(
    ("everybody", "patient", "hubless", "goes"),
    [
        (True, True, None, True),
        (False, True, None, False),
        (False, False, None, True),  # One hub of two, or a client: it had its time.
        (False, True, 50.0, False),
        (False, False, 99.0, False),
        (False, False, 100.0, True),
        (False, True, 500.0, False),  # They may be about to return.
    ],
)
def test_what_goes(everybody: bool, patient: bool, hubless: float | None, goes: bool) -> None:
    assert may_go(everybody=everybody, patient=patient, hubless=hubless, keep_seconds=100) is goes


def test_who_is_heard() -> None:
    hub, client = Session(to_hub(2, 1), since=0.0), Session(to_client(1, 2), since=0.0)
    assert hears_a_hub([]), "a gateway without hubs misses none"
    assert hears_a_hub([client]), "nor does a hub"
    assert not hears_a_hub([hub, client])
    hub.heard.add(Family.IPV4)
    assert not hears_a_hub([hub]), "it has told everything, and is gone"
    hub.up = True
    assert hears_a_hub([hub, Session(to_hub(2, 3), since=0.0)]), "one of two is enough"
