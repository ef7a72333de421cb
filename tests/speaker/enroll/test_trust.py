"""`leyline speaker trust`: the controller has another certificate, and the operator says so."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from speaker.commands import _access, speaker
from speaker.doctor.asked import ask_controller
from speaker.doctor.checks import keys
from speaker.doctor.facts import Facts
from speaker.enroll import access as stored
from speaker.enroll.access import Access
from speaker.enroll.trust import parse_fingerprint
from speaker.state import StateDir
from tests.controller.cli.running import RunningController
from tests.speaker.enroll.conftest import Certificates

GONE = "00" * 32
"""Of the certificate that the controller had before."""


@dataclass
class Box:
    """Enrolled with a controller that has got another certificate since."""

    state: StateDir
    certificate: Path

    @property
    def fingerprint(self) -> str:
        return sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()

    @property
    def held(self) -> Access:
        found = stored.load(self.state)
        assert found is not None
        return found

    def trusts(self, *words: str) -> Result:
        return CliRunner().invoke(speaker, ["trust", *words, "--state-dir", str(self.state.root)])

    def reached(self) -> str:
        """Why the controller is not; "" when it is, though it does not know this gateway's token."""
        access = _access(self.state, None, controller=None, token_file=None, cacert=None)
        return ask_controller(access).error


@pytest.fixture
def box(tmp_path: Path, self_signed: Certificates, state: StateDir) -> Iterator[Box]:
    certificate, key = self_signed(tmp_path)
    with RunningController(tmp_path, tls=(certificate, key)) as running:
        stored.save(state, Access(running.url, "berlin-1", "leyline_a_b", fingerprint=GONE, approved=True))
        yield Box(state, certificate)


@pytest.mark.slow
def test_the_new_certificate_is_trusted_and_nothing_else_is_changed(box: Box) -> None:
    before = box.held
    assert "another certificate" in box.reached()
    done = box.trusts(box.fingerprint)
    assert done.exit_code == 0, done.output
    assert "systemctl restart leyline-agent" in done.output
    assert box.held == msgspec.structs.replace(before, fingerprint=box.fingerprint)
    assert box.reached() == ""
    assert box.trusts(box.fingerprint).exit_code == 0, "a second time changes nothing"


@pytest.mark.slow
def test_a_certificate_that_nobody_shows_is_refused(box: Box) -> None:
    before = box.held
    done = box.trusts("ab" * 32)
    assert done.exit_code == 1
    said = f"another certificate than the pinned one: its SHA-256 is {box.fingerprint}, not {'ab' * 32}. Nothing was"
    assert f": {said}" in done.output, "so that it can be compared"
    assert "Nothing was changed" in done.output
    assert box.held == before


@pytest.mark.slow
def test_a_ca_is_trusted_instead(box: Box) -> None:
    assert box.trusts("--cacert", str(box.certificate)).exit_code == 0
    assert (box.held.fingerprint, box.held.ca_file) == ("", str(box.certificate))
    assert box.reached() == ""
    done = box.trusts("--system")
    assert (done.exit_code, box.held.ca_file) == (1, str(box.certificate)), "the system's CAs do not vouch for it"
    no_ca = box.state.root / "empty.pem"
    no_ca.touch()
    assert "no CA" in box.trusts("--cacert", str(no_ca)).output


@pytest.mark.slow
def test_the_doctor_names_the_command(box: Box) -> None:
    access = _access(box.state, None, controller=None, token_file=None, cacert=None)
    (found,) = keys.check(Facts(now=0.0, controller=ask_controller(access)))
    assert found.level == "error"
    assert box.fingerprint in found.what
    assert "leyline speaker trust" in found.fix


@pytest.mark.parametrize(
    ("access", "words", "says"),
    [
        (None, [GONE], "has not enrolled"),
        (Access("http://127.0.0.1:8642", "berlin-1", "t"), [GONE], "no certificate"),
        (Access("https://127.0.0.1:9", "berlin-1", "t", replaces="x"), [GONE], "--token-file"),
        (Access("https://127.0.0.1:9", "berlin-1", "t"), [GONE], "Nothing was changed"),
        (Access("https://127.0.0.1:9", "berlin-1", "t"), ["ab:cd"], "no SHA-256 fingerprint"),
    ],
)
def test_what_is_in_the_way_is_said(state: StateDir, access: Access | None, words: list[str], says: str) -> None:
    if access is not None:
        stored.save(state, access)
    done = Box(state, Path()).trusts(*words)
    assert done.exit_code == 1
    assert says in done.output


@pytest.mark.parametrize("words", [[], [GONE, "--system"], ["--system", "--cacert", __file__]])
def test_one_thing_is_to_be_trusted(state: StateDir, words: list[str]) -> None:
    done = Box(state, Path()).trusts(*words)
    assert (done.exit_code, "one of" in done.output) == (2, True)


@pytest.mark.parametrize("text", ["ab" * 32, "AB" * 32, ":".join(["Ab"] * 32), f" sha256 Fingerprint={'AB:' * 31}AB\n"])
def test_a_fingerprint_may_come_as_openssl_prints_it(text: str) -> None:
    assert parse_fingerprint(text) == "ab" * 32
