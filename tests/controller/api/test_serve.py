"""`leyline controller ...` as a process: first token, TLS or not, SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from controller.api.settings import BadSettings, Settings
from controller.commands_server import controller_group
from tests.controller.api.served import Caller, wait_until
from tests.controller.store.fabrics import small
from tests.postgres import Cluster

pytestmark = pytest.mark.slow  # Each test starts the real server as a process.

LEYLINE = [sys.executable, "-m", "controller.cli"]
FIRST = re.compile(r"shown this once: (leyline_\S+)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Running:
    def __init__(self, process: subprocess.Popen[str], url: str, out: Path) -> None:
        self.process, self.url, self.out = process, url, out

    def healthy(self, trust: Path | None) -> bool:
        assert self.process.poll() is None, self.out.read_text()
        verify = False if trust is None else ssl.create_default_context(cafile=str(trust))
        try:
            return httpx2.get(f"{self.url}/api/v1/healthz", verify=verify).status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def running(directory: Path, *options: str, trust: Path | None = None) -> Iterator[Running]:
    port = free_port()
    out = directory / "out"
    command = [*LEYLINE, "controller", "serve", "--database", f"sqlite:///{directory}/c.sqlite", "--port", str(port)]
    with out.open("w") as sink, subprocess.Popen([*command, *options], stdout=sink, stderr=sink, text=True) as process:
        found = Running(process, f"http{'s' if trust else ''}://127.0.0.1:{port}", out)
        try:
            wait_until(lambda: found.healthy(trust), out.read_text)
            yield found
        finally:
            process.kill()


@pytest.mark.slow
def test_the_first_start_shows_a_token_once_and_sigterm_ends_polls_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        found = FIRST.findall(first.out.read_text())
        assert len(found) == 1
        admin = Caller(first.url, found[0])
        assert admin.post("/apply", small()).status_code == 200
        token = admin.post("/gateways/paris-1/token").json()["token"]
        gateway = Caller(first.url, token)
        digest = gateway.poll("paris-1").json()["digest"]
        poll = gateway.in_background(lambda: gateway.poll("paris-1", digest, wait=50))
        waits = f"{first.url}/metrics"
        headers = {"Authorization": f"Bearer {found[0]}"}
        wait_until(lambda: "leyline_polls_waiting 1.0" in httpx2.get(waits, headers=headers).text)
        started = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(8) == -signal.SIGTERM, "uvicorn ends as it was told to, after its shutdown"
        assert time.monotonic() - started < 5, "nobody waits for 50 s of long poll"
        assert poll.result().status_code == 304
    with running(tmp_path) as second:
        assert FIRST.findall(second.out.read_text()) == []
        assert Caller(second.url, found[0]).get("/fabric").json()["fabric"]["name"] == "demo"
        assert Caller(second.url, token).poll("paris-1", digest).status_code == 304, "the digest survives a restart"
        second.process.send_signal(signal.SIGKILL)
        second.process.wait()
    with running(tmp_path) as third:
        assert Caller(third.url, found[0]).get("/revisions").json()["items"][0]["revision"] == 1


def leyline(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEYLINE, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_token_can_be_made_beside_the_api(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/c.sqlite"
    refused = leyline("controller", "token", "create", "--database", url)
    assert (refused.returncode, "c.sqlite: no such file; name the controller's" in refused.stderr) == (1, True)
    (tmp_path / "c.sqlite").touch()
    refused = leyline("controller", "token", "create", "--database", url)
    assert (refused.returncode, "leyline controller migrate" in refused.stderr) == (1, True)
    migrated = leyline("controller", "migrate", LEYLINE_DATABASE=url)
    assert migrated.returncode == 0, migrated.stderr
    assert "now at" in migrated.stdout
    assert "already at" in leyline("controller", "migrate", "--database", url).stdout
    made = leyline("controller", "token", "create", "--database", url, "--role", "operator", "--days", "1")
    assert re.fullmatch(r"leyline_\w{12}_\w{43}\n", made.stdout)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--host", "0.0.0.0"], "--insecure-behind-proxy"),
        (["--host", "::"], "--tls-certificate"),
        (["--tls-certificate", "/proc/none"], "both files"),
        (["--tls-certificate", "/proc/none", "--tls-key", "/proc/none"], "/proc/none cannot be read"),
        (["--tls-certificate", __file__, "--tls-key", __file__], "are no certificate (PEM) and its key"),
        (["--zerotier-url", "localhost", "--zerotier-token-file", __file__], "localhost is no URL"),
        (["--database", "mysql://x/y"], "mysql is not supported"),
        (["--database", "sqlite:////proc/none/x"], "cannot open"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path: Path, options: list[str], says: str) -> None:
    command = ["serve", "--database", f"sqlite:///{tmp_path}/c.sqlite", *options]
    found = CliRunner().invoke(controller_group, command)
    assert (found.exit_code, isinstance(found.exception, SystemExit)) == (1, True)
    assert says in found.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_no_tls(host: str) -> None:
    Settings("sqlite:////x", host=host).check()


def test_another_address_needs_tls_or_a_proxy() -> None:
    with pytest.raises(BadSettings):
        Settings("sqlite:////x", host="192.0.2.1").check()
    Settings("sqlite:////x", host="192.0.2.1", insecure_behind_proxy=True).check()


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leyline")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def test_another_address_with_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    options = ["--host", "0.0.0.0", "--tls-certificate", str(certificate), "--tls-key", str(key)]
    with running(tmp_path, *options, trust=certificate) as served:
        context = ssl.create_default_context(cafile=str(certificate))
        assert httpx2.get(f"{served.url}/api/v1/whoami", verify=context).status_code == 401


@pytest.mark.postgres
def test_postgres_is_migrated_by_hand(cluster: Cluster) -> None:
    """Others may be using it: an upgrade of one replica must not pull the tables from under the next."""
    found = leyline("controller", "serve", "--database", cluster.new_database())
    assert (found.returncode, "leyline controller migrate" in found.stderr) == (1, True)
