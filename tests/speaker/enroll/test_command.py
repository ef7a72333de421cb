"""`leyline speaker enroll`, and how `leyline speaker run` finds what it has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from speaker.commands import _settings, speaker
from speaker.enroll import access as stored
from speaker.enroll.access import Access, AccessUnusable
from speaker.enroll.command import Progress, named_homes
from speaker.state import StateDir
from speaker.zerotier.local import LocalService
from tests.speaker.enroll.conftest import NETWORK, FakeZeroTier, Operator

ENROLLED = Access("https://leyline.example", "berlin-1", "leyline_a_b", fingerprint="ab" * 32, approved=True)
NOTHING = dict.fromkeys(
    (
        *("gateway", "controller", "token_file", "cacert", "plan", "metrics"),
        *("zerotier_home", "audit_seconds", "break_before_make", "removal_seconds"),
    )
)


def settings(state: StateDir, **options: Any) -> Any:
    chosen: dict[str, Any] = {**NOTHING, **options}
    return _settings(state.root, **chosen)


def test_the_speaker_knows_what_enrolment_has_stored(state: StateDir) -> None:
    stored.save(state, ENROLLED)
    for options in ({}, {"gateway": "berlin-1"}, {"controller": "https://leyline.example"}):
        found = settings(state, **options).access
        assert (found.url, found.gateway, found.token) == (ENROLLED.url, "berlin-1", "leyline_a_b")
        assert (found.fingerprint, found.ca_file, found.replaces) == ("ab" * 32, None, "")


def test_the_speaker_finds_the_services_by_which_it_has_enrolled(state: StateDir) -> None:
    stored.save(state, ENROLLED)
    assert settings(state).zerotier == (("", Path("/var/lib/zerotier-one")),)
    stored.save(state, msgspec.structs.replace(ENROLLED, homes=(("main", "/a"), ("lte", "/b"))))
    assert settings(state).zerotier == (("main", Path("/a")), ("lte", Path("/b")))
    assert settings(state, zerotier_home=("main=/c",)).zerotier == (("main", Path("/c")),)


@pytest.mark.parametrize(
    ("access", "options", "says"),
    [
        (None, {}, "leyline speaker enroll"),
        (None, {"gateway": "berlin-1"}, "leyline speaker enroll"),
        (None, {"controller": "https://x"}, "--controller needs --token-file"),
        (Access("https://x", "", "t"), {}, "leyline speaker enroll"),
        (ENROLLED, {"gateway": "berlin-2"}, "has enrolled with berlin-1: leave it out"),
        (ENROLLED, {"controller": "https://other"}, "--controller is https://other"),
        (ENROLLED, {"token_file": Path("/nowhere")}, "--token-file needs --controller"),
        (ENROLLED, {"token_file": Path("/nowhere"), "controller": "https://x"}, "--controller needs --gateway"),
        (ENROLLED, {"plan": Path("/nowhere")}, "--gateway NAME"),
    ],
)
def test_what_does_not_go_together(
    state: StateDir, access: Access | None, options: dict[str, object], says: str
) -> None:
    if access is not None:
        stored.save(state, access)
    with pytest.raises(click.UsageError) as refused:
        settings(state, **options)
    assert says in str(refused.value)


def test_a_token_file_is_used_unless_its_token_was_renewed(state: StateDir, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("leyline_a_b\n")
    options = {"controller": "https://x", "gateway": "berlin-1", "token_file": file}
    found = settings(state, **options).access
    assert (found.token, found.replaces) == ("leyline_a_b", stored.mark_of("leyline_a_b"))
    stored.save(state, Access("https://x", "berlin-1", "leyline_c_d", replaces=found.replaces))
    assert settings(state, **options).access.token == "leyline_c_d"
    file.write_text("leyline_e_f\n")
    assert settings(state, **options).access.token == "leyline_e_f"


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"url": 7}', b"\xff", b"[" * 100_000])
def test_a_broken_file_is_named_with_the_way_out(state: StateDir, junk: bytes) -> None:
    state.access.write_bytes(junk)
    with pytest.raises(AccessUnusable, match=r"access\.json.*enrol again"):
        stored.load(state)
    with pytest.raises(click.ClickException, match=r"access\.json"):
        settings(state)
    assert stored.token_instead_of(state, "berlin-1", "t") == "t"


def test_homes_name_uplinks() -> None:
    assert named_homes(("/a", "/b", "lte=/c")) == [
        ("main", Path("/a")),
        ("uplink-2", Path("/b")),
        ("lte", Path("/c")),
    ]
    for twice in (("/a", "/a"), ("x=/a", "x=/b"), tuple(map(str, range(9)))):
        with pytest.raises(click.BadParameter):
            named_homes(twice)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeZeroTier:
    fake = FakeZeroTier()
    monkeypatch.setattr("speaker.enroll.command.Local", lambda _service: fake)
    return fake


def enroll(state: StateDir, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(speaker, ["enroll", *arguments, "--state-dir", str(state.root)], input=stdin)


@pytest.mark.parametrize("by", ["argument", "stdin", "environment"])
def test_a_key_comes_in_three_ways(operator: Operator, state: StateDir, service: FakeZeroTier, by: str) -> None:
    text, words = operator.key_text(approve=True), ["--no-wait"]
    if by == "environment":
        arguments = ["enroll", *words, "--state-dir", str(state.root)]
        done = CliRunner().invoke(speaker, arguments, env={"LEYLINE_ENROLL_KEY": text})
    else:
        done = enroll(state, "-" if by == "stdin" else text, *words, stdin=text + "\n")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"this is gateway berlin-1 of {operator.running.url}: leyline speaker run starts it\n"
    assert done.stderr == f"node e000000001 has joined {NETWORK} on ztfabric0\n"
    assert set(service.joins) == {NETWORK}
    held = stored.load(state)
    assert held is not None
    assert held.homes == (("main", "/var/lib/zerotier-one"),)


@pytest.mark.parametrize(
    ("key", "says"), [("nonsense", "no enrolment key"), ("leyline-key.1.x", "copy it again"), ("", "no enrolment key")]
)
def test_a_bad_key_is_one_line(state: StateDir, key: str, says: str) -> None:
    done = enroll(state, key)
    assert done.exit_code == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_zerotier_on_this_box(operator: Operator, state: StateDir, tmp_path: Path) -> None:
    done = enroll(state, operator.key_text(), "--zerotier-home", str(tmp_path / "none"))
    assert done.exit_code == 1
    assert "start zerotier-one" in done.stderr
    assert LocalService(tmp_path).home == tmp_path


def test_on_a_terminal_a_text_that_does_not_fit_is_said_once_and_the_seconds_beneath(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    progress, long = Progress(), "roof waits for its address: " + "does not admit it, " * 4
    for text in ("roof waits", "roof waits", long, long):
        progress.say(text)
    progress.end()
    assert capsys.readouterr().err == (f"\rroof waits (0 s)\rroof waits (0 s)\n{long}\n\r... (0 s)\r... (0 s)\n")
