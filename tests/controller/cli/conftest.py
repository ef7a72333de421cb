"""What the tests of the `leyline` command share."""

from __future__ import annotations

import datetime
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controller.cli import cli
from tests.controller.cli.running import RunningController

INVENTORY = """\
fabric: {name: demo, asn: 64512, segment: 10.42.0.0/16}
regions:
  - {name: eu}
sites:
  - {name: berlin, region: eu, tags: [dc]}
  - {name: paris, region: eu}
allocations:
  - {site: berlin, prefix: 10.1.0.0/16}
  - {site: paris, prefix: 10.2.0.0/16}
prefixes:
  - {site: berlin, prefix: 10.1.1.0/24}
  - {site: paris, prefix: 10.2.1.0/24}
gateways:
  - name: hub-1
    site: paris
    role: hub
    uplinks: [{name: main, node_id: "a000000001", interface: zt0, circuit_class: fiber}]
  - name: berlin-1
    site: berlin
    role: spoke
    uplinks: [{name: main, node_id: "a000000002", interface: zt0, circuit_class: fiber, bandwidth: 1G}]
"""
ROOT = Path(__file__).resolve().parents[3]

Answer = str | Callable[[], str]


@dataclass
class Leyline:
    """The command under test, as one user with a home directory of its own."""

    home: Path
    environ: dict[str, str]

    def __call__(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        """In this process; stdin is no terminal."""
        environment: dict[str, str | None] = {name: None for name in os.environ if name.startswith("LEYLINE_")}
        return CliRunner().invoke(cli, arguments, input=stdin, env={**environment, **self.environ, **environ})

    def on_terminal(self, *arguments: str, answers: Mapping[str, Answer]) -> tuple[int, str]:
        """In a process with a terminal: (exit code, what the user saw). `answers`: prompt -> what is typed then.

        A function is called when its prompt is there, and returns what is typed.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LEYLINE_")}
        code = "from controller.cli import main; main()"
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.home,
            env={**environ, **self.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"},
            start_new_session=True,  # Else a hidden prompt would turn to the terminal of whoever runs the tests.
        ) as process:
            os.close(theirs)
            seen = _converse(ours, dict(answers))
        os.close(ours)
        return process.returncode, seen

    @property
    def config(self) -> Path:
        return self.home / ".config" / "leyline" / "config.toml"

    def write(self, name: str, text: str) -> str:
        """A file in the home directory; returns its path."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)


def _converse(terminal: int, answers: dict[str, Answer]) -> str:
    """Types each answer once its prompt is there, until the far end closes; returns all that was shown."""
    seen = ""
    try:
        while data := os.read(terminal, 65536):
            seen += data.decode(errors="replace")
            for prompt in [prompt for prompt in answers if prompt in seen]:
                answer = answers.pop(prompt)
                os.write(terminal, (answer if isinstance(answer, str) else answer()).encode() + b"\n")
    except OSError:  # Linux says EIO when the other end is closed.
        pass
    assert answers == {}, f"never asked; shown was:\n{seen}"
    return seen


@pytest.fixture
def leyline(tmp_path: Path) -> Leyline:
    """A user who has not logged in anywhere."""
    home = tmp_path / "home"
    home.mkdir()
    return Leyline(home, {"HOME": str(home), "XDG_CONFIG_HOME": ""})


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningController]:
    """One controller for all tests of a worker: see `running`."""
    with RunningController(tmp_path_factory.mktemp("controller")) as controller:
        yield controller


@pytest.fixture
def running(shared: RunningController) -> RunningController:
    """A controller with nothing declared."""
    shared.reset()
    return shared


@pytest.fixture
def admin(leyline: Leyline, running: RunningController) -> Leyline:
    """A user with the admin token of `running` in the environment."""
    return Leyline(leyline.home, {**leyline.environ, "LEYLINE_URL": running.url, "LEYLINE_TOKEN": running.admin})


@pytest.fixture
def declared(admin: Leyline) -> Leyline:
    """As `admin`; INVENTORY is applied, and stands in the home directory."""
    done = admin("apply", admin.write("inventory.yml", INVENTORY))
    assert done.exit_code == 0, done.output
    return admin


@pytest.fixture
def self_signed() -> Callable[[Path], tuple[Path, Path]]:
    """Makes (certificate, key) for 127.0.0.1 in a directory, as PEM files."""

    def make(directory: Path) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leyline test")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        paths = directory / "certificate.pem", directory / "key.pem"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths

    return make
