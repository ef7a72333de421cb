"""`fabric rotate-md5`: hub by hub, never a second one while the first is not back; and `fabric md5-keys`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from controller.client.md5 import missing_of
from speaker import plan
from speaker.report import NO_PLAN, SessionReport, decode_envelope
from tests.controller.cli.conftest import Leyline
from tests.controller.cli.running import RunningController, Speaker
from tests.controller.cli.test_inventory_commands import lines

NAMES = ("berlin-1", "hub-1", "hub-2", "paris-1")
FABRIC = "fabric: {{name: demo, asn: 64512, segment: 10.42.0.0/16, md5: {md5}}}\n"


def inventory(md5: str = "true") -> str:
    uplink = '{{name: main, node_id: "a00000000{}", interface: zt0, circuit_class: fiber}}'
    roles = {name: "hub" if name.startswith("hub") else "spoke" for name in NAMES}
    rows = [
        f"  - {{name: {name}, site: berlin, role: {roles[name]}, uplinks: [{uplink.format(n)}]}}"
        for n, name in enumerate(NAMES)
    ]
    site = "regions: [{name: eu}]\nsites: [{name: berlin, region: eu}]\n"
    return FABRIC.format(md5=md5) + site + "gateways:\n" + "\n".join(rows) + "\n"


class Fleet:
    """Gateways that take their plans, and have a session with whoever has the same key. They note who was down."""

    def __init__(self, running: RunningController) -> None:
        self.speakers = {name: Speaker(running, name) for name in NAMES}
        self.plans: dict[str, plan.Plan] = {}
        self.digests: dict[str, str] = dict.fromkeys(NAMES, "")
        self.since: dict[frozenset[str], tuple[str, float]] = {}
        self.deaf: set[str] = set()
        self.hubs_down: set[frozenset[str]] = set()
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(name,)) for name in NAMES]

    def __enter__(self) -> Fleet:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        for speaker in self.speakers.values():
            speaker.close()

    def work(self, name: str) -> None:
        speaker = self.speakers[name]
        while not self.stopped.wait(0.05):
            if name not in self.deaf:
                etag = {"If-None-Match": f'"{self.digests[name]}"'}
                found = speaker.http.get("/plan", headers=etag)
                if found.status_code == 200:
                    envelope = decode_envelope(found.content)
                    assert envelope.plan != NO_PLAN
                    with self.lock:
                        self.plans[name] = plan.decode(bytes(envelope.plan))
                        self.digests[name] = envelope.digest
            if name in self.plans:
                speaker.report(sessions=self.sessions(name), plan_digest=self.digests[name])

    def sessions(self, name: str) -> tuple[SessionReport, ...]:
        with self.lock:
            found = tuple(self.session(name, each) for each in self.plans[name].sessions)
            self.hubs_down.add(frozenset(hub for hub in ("hub-1", "hub-2") if self.is_down(hub)))
            return found

    def session(self, name: str, end: plan.SessionPlan) -> SessionReport:
        now, ends = time.time(), frozenset({name, end.peer})
        state: Any = "up" if self.key(end.peer, name) == end.password else "down"
        if self.since.get(ends, ("", 0.0))[0] != f"{state} {end.password}":
            self.since[ends] = (f"{state} {end.password}", now - 500 * (ends not in self.since))
        reason = "" if state == "up" else "connection attempts fail"
        return SessionReport(end.peer, end.peer_address, state, self.since[ends][1], reason, True, {}, {}, {})

    def key(self, name: str, peer: str) -> str | None:
        sessions = self.plans[name].sessions if name in self.plans else ()
        return next((each.password for each in sessions if each.peer == peer), None)

    def is_down(self, hub: str) -> bool:
        """Whether a session that it waits for has two keys now."""
        waits = [each for each in self.plans[hub].sessions if each.passive] if hub in self.plans else []
        return any(self.key(each.peer, hub) != each.password for each in waits)

    def in_use(self) -> set[str | None]:
        return {self.key("berlin-1", "hub-1"), self.key("berlin-1", "hub-2")}

    def settle(self, declared: Leyline) -> None:
        deadline = time.monotonic() + 20
        while (
            json.loads(declared("fabric", "md5-keys", "--json").stdout)["troubles"]
            or "not up" in declared("fabric", "md5-keys").stdout
        ):
            assert time.monotonic() < deadline, declared("fabric", "md5-keys").stdout
        self.hubs_down.clear()


@pytest.fixture
def two_hubs(admin: Leyline) -> Leyline:
    done = admin("apply", admin.write("two.yml", inventory()))
    assert done.exit_code == 0, done.output
    return admin


@pytest.fixture
def fleet(two_hubs: Leyline, running: RunningController) -> Iterator[Fleet]:
    with Fleet(running) as found:
        found.settle(two_hubs)
        yield found


def test_hub_after_hub(two_hubs: Leyline, fleet: Fleet) -> None:
    before = fleet.in_use()
    done = two_hubs("fabric", "rotate-md5")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    first, second = done.stdout.splitlines()
    assert first.startswith("hub-1 has a new key: 2 of 2 sessions up after ")
    assert second.startswith("hub-2 has a new key: 3 of 3 sessions up after ")
    assert len(before | fleet.in_use()) == 4
    assert frozenset({"hub-1", "hub-2"}) not in fleet.hubs_down
    assert not [key for key in (*before, *fleet.in_use()) if str(key) in done.output]


def test_one_hub_and_what_is_printed_for_programs(two_hubs: Leyline, fleet: Fleet) -> None:
    before = fleet.key("berlin-1", "hub-1")
    done = two_hubs("fabric", "rotate-md5", "--hub", "hub-2", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["left"] == []
    (hub,) = found["hubs"]
    assert 0 <= hub.pop("seconds") < 30
    assert hub.pop("changed_at").endswith("Z")
    assert hub == {"hub": "hub-2", "key": True, "sessions": 3, "missing": [], "away": []}
    assert fleet.key("berlin-1", "hub-1") == before


def test_it_stops_at_the_hub_whose_sessions_do_not_come_back(two_hubs: Leyline, fleet: Fleet) -> None:
    fleet.deaf.add("paris-1")
    before = fleet.key("berlin-1", "hub-2")
    done = two_hubs("fabric", "rotate-md5", "--timeout", "2")
    assert done.exit_code == 1
    assert done.stdout.startswith("hub-1 has a new key: 1 of 2 sessions up after ")
    assert "sessions of hub-1 are missing: paris-1 has not taken its plan yet. A gateway that" in done.stderr
    assert done.stderr.endswith("Not touched: hub-2. Then: leyline fabric rotate-md5 --hub hub-2\n")
    assert fleet.key("berlin-1", "hub-2") == before
    again = two_hubs("fabric", "rotate-md5", "--hub", "hub-2")
    assert again.exit_code == 1
    assert "paris-1 has not taken its plan yet: a new key for hub-2 now may cost gateways" in again.stderr
    assert fleet.key("berlin-1", "hub-2") == before
    fleet.deaf.clear()
    fleet.settle(two_hubs)
    assert two_hubs("fabric", "rotate-md5", "--hub", "hub-2").exit_code == 0
    assert frozenset({"hub-1", "hub-2"}) not in fleet.hubs_down


def test_the_table_says_how_keys_and_sessions_stand(two_hubs: Leyline, fleet: Fleet) -> None:
    shown = lines(two_hubs("fabric", "md5-keys").stdout)
    assert shown[0] == ["the", "inventory", "says", "md5:", "true"]
    assert shown[2][:2] == ["hub-1", "yes"]
    assert shown[2][-3:] == ["2", "of", "2"]
    fleet.deaf.add("paris-1")
    assert two_hubs("fabric", "rotate-md5", "--hub", "hub-1", "--timeout", "1").exit_code == 1
    shown = lines(two_hubs("fabric", "md5-keys").stdout)
    assert shown[2][-3:] == ["1", "of", "2"]
    assert ["hub-1", "paris-1"] in [row[:2] for row in shown]


def test_on_and_off_in_a_running_fabric(two_hubs: Leyline, fleet: Fleet) -> None:
    two_hubs("apply", two_hubs.write("off.yml", FABRIC.format(md5="false")))
    fleet.settle(two_hubs)
    assert None not in fleet.in_use()
    assert "" not in fleet.in_use()
    done = two_hubs("fabric", "rotate-md5")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "hub-1 has no key any more",
        "hub-2 has no key any more",
    ]
    assert fleet.in_use() == {""}
    nothing = two_hubs("fabric", "rotate-md5")
    assert nothing.exit_code == 1
    assert "no hub has a key; declare `md5: true` of the fabric first" in nothing.stderr
    two_hubs("apply", two_hubs.write("on.yml", FABRIC.format(md5="true")))
    assert two_hubs("fabric", "rotate-md5").exit_code == 0
    assert "" not in fleet.in_use()
    assert frozenset({"hub-1", "hub-2"}) not in fleet.hubs_down


def test_a_terminal_has_a_bar(two_hubs: Leyline, fleet: Fleet) -> None:
    fleet.deaf.add("paris-1")
    code, seen = two_hubs.on_terminal("fabric", "rotate-md5", "--hub", "hub-1", "--timeout", "3", answers={})
    assert code == 1
    assert "1 of 2 sessions back; " in seen
    assert "━" in seen


def test_a_hub_that_is_not_there_changes_nothing(two_hubs: Leyline, fleet: Fleet) -> None:
    before = fleet.in_use()
    done = two_hubs("fabric", "rotate-md5", "--hub", "hub-1", "--hub", "berlin-1")
    assert done.exit_code == 1
    assert done.stderr == "Error: there is no hub berlin-1; hubs: hub-1, hub-2\n"
    assert fleet.in_use() == before


def test_an_empty_fabric(admin: Leyline) -> None:
    assert admin("fabric", "md5-keys").stderr == "there are no hubs\n"
    assert admin("fabric", "rotate-md5").exit_code == 1


def test_who_went_off_meanwhile_is_missing_and_who_left_the_fabric_is_not() -> None:
    hub = {"hub": "h", "missing": [{"gateway": "a", "reason": "down"}, {"gateway": "new", "reason": ""}], "away": ["b"]}
    found = missing_of({"hubs": [hub]}, "h", ["a", "b", "c"])
    assert found == [{"gateway": "a", "reason": "down"}, {"gateway": "b", "reason": "it is off, or cut off"}]
    assert missing_of({"hubs": []}, "h", ["a"]) == []
