"""The last good plan: what is accepted, what is refused, and what a full disk costs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from speaker.agent.plans import PlanState, PlanStore
from speaker.plan import Plan, UplinkPlan, digest, encode
from speaker.state import StateDir, write_atomically


def a_plan(gateway: str = "berlin-1", asn: int = 64512) -> Plan:
    uplink = UplinkPlan(1, "main", "zt0", "10.42.0.1", None, "fiber", 200, 0)
    return Plan(
        version=1,
        gateway=gateway,
        role="spoke",
        asn=asn,
        router_id="10.42.0.1",
        segments=("10.42.0.0/16",),
        uplinks=(uplink,),
        announcements=(),
        sessions=(),
        rejects=(),
        max_paths=16,
    )


def fsyncs_in(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Who waits for the disk, from now on."""
    threads: list[threading.Thread] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        threads.append(threading.current_thread())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return threads


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    directory = StateDir(tmp_path / "state")
    directory.prepare()
    return directory


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[StateDir]:
    """A state directory on a file system without room (a tmpfs of one page, filled)."""
    import subprocess

    mount = tmp_path / "full"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(mount)], check=True)
    try:
        directory = StateDir(mount)
        directory.prepare()
        yield directory
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_stored_plan_is_loaded_again(state: StateDir) -> None:
    assert PlanStore(state, "berlin-1").save(encode(a_plan())) == ""
    loaded = PlanStore(state, "berlin-1").load()
    assert (loaded.plan, loaded.digest, loaded.error) == (a_plan(), digest(a_plan()), "")


def test_without_a_stored_plan_there_is_none_and_no_error(state: StateDir) -> None:
    assert PlanStore(state, "berlin-1").load() == PlanState()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(a_plan())[:-20], "Input data was truncated"),
        (b"", "Input data was truncated"),
        (b"\xff\xfe", "invalid"),
        (b'{"version": 5}', "plan version 5; this speaker reads 1, 2, 3, 4: upgrade the speaker first"),
        (encode(a_plan()).replace(b'"asn":64512', b'"asn":0'), "$.asn"),
        (encode(a_plan()).replace(b'"asn":', b'"deny":1,"asn":'), "unknown field `deny`"),
        (encode(a_plan("paris-1")), "it is for gateway paris-1, not berlin-1"),
        (b"[" * 100_000, "plan refused"),
        (encode(a_plan()).replace(b'"own_view":0', b'"own_view":7'), "plan refused: policy 7 is not in the plan"),
    ],
    ids=[
        "truncated",
        "empty",
        "no-text",
        "newer-version",
        "bad-value",
        "unknown-field",
        "somebody-elses",
        "deep",
        "no-such-policy",
    ],
)
def test_an_unreadable_plan_changes_nothing_and_says_why(data: bytes, expected: str) -> None:
    before = PlanState().accept(encode(a_plan()), "berlin-1")
    after = before.accept(data, "berlin-1")
    assert (after.plan, after.digest) == (before.plan, before.digest)
    assert expected in after.error


def test_a_broken_file_is_no_plan_and_names_the_file(state: StateDir) -> None:
    state.plan.write_bytes(encode(a_plan())[:100])
    loaded = PlanStore(state, "berlin-1").load()
    assert loaded.plan is None
    assert str(state.plan) in loaded.error


def test_a_good_plan_clears_the_error() -> None:
    refused = PlanState().accept(b"junk", "berlin-1")
    assert refused.error
    assert refused.accept(encode(a_plan()), "berlin-1").error == ""


@pytest.mark.root
def test_a_full_disk_keeps_the_old_plan_whole_and_is_tried_again(full_disk: StateDir) -> None:
    store = PlanStore(full_disk, "berlin-1")
    assert store.save(encode(a_plan())) == ""
    filler = full_disk.root / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 65536)
    newer = encode(msgspec.structs.replace(a_plan(), rejects=tuple(f"10.{n}.0.0/16" for n in range(200))))
    error = store.save(newer)
    assert "No space left on device" in error
    assert str(full_disk.plan) in error
    assert full_disk.plan.read_bytes() == encode(a_plan())
    assert [path.name for path in full_disk.root.iterdir() if path.name.startswith(".plan")] == []
    assert store.retry() == error
    filler.unlink()
    assert store.retry() == ""
    assert full_disk.plan.read_bytes() == newer
    assert store.retry() is None


def test_writing_atomically_leaves_the_mode_and_no_temporary_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "secret", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
