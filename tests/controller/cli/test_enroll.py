"""What operators type about enrolment: keys, who waits, who is let in and put out; and rotating their own token."""

from __future__ import annotations

import hashlib
import json
import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest

from controller.client.certificates import fingerprint_of
from controller.client.errors import CommandFailed
from speaker.enroll.key import Key, parse
from tests.controller.cli.conftest import INVENTORY, Leyline
from tests.controller.cli.running import RunningController

NETWORK = "8056c2e21c000001"


@pytest.fixture
def fabric(admin: Leyline) -> Leyline:
    """As `admin`; INVENTORY is applied, with a network that gateways can join."""
    text = INVENTORY.replace("segment: 10.42.0.0/16", f"segment: 10.42.0.0/16, network: '{NETWORK}'")
    done = admin("apply", admin.write("inventory.yml", text))
    assert done.exit_code == 0, done.output
    return admin


def key_of(leyline: Leyline, *options: str) -> Key:
    done = leyline("enroll-key", "create", "--site", "berlin", *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1, "it can be piped"
    return parse(done.stdout)


def comes(key: Key, node_id: str = "e000000001") -> str:
    """Somebody enrols. -> the name."""
    body = {
        "token": {"id": f"{node_id}00", "sha256": hashlib.sha256(b"s").hexdigest()},
        "uplinks": [{"name": "main", "node_id": node_id, "interface": "zt0"}],
    }
    headers = {"Authorization": f"Leyline-Key {key.bearer}"}
    answer = httpx2.post(f"{key.url}/api/v1/enroll", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["gateway"]
    return name


def as_json(leyline: Leyline, *arguments: str) -> Any:
    done = leyline(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_key_has_the_url_that_the_operator_uses(fabric: Leyline, running: RunningController) -> None:
    key = key_of(fabric, "--note", "roof", "--uses", "3", "--expires", "2h", "--class", "fiber", "--class", "lte")
    assert (key.url, key.fingerprint) == (running.url, "")
    (shown,) = as_json(fabric, "enroll-key", "list")
    assert (shown["id"], shown["uses"], shown["circuit_classes"]) == (key.id, 3, ["fiber", "lte"])
    other = key_of(fabric, "--gateways-url", "https://leyline.example", "--fingerprint", "AB" * 32)
    assert (other.url, other.fingerprint) == ("https://leyline.example", "ab" * 32)


def test_a_key_of_a_declared_gateway(fabric: Leyline) -> None:
    done = fabric("enroll-key", "create", "--gateway", "berlin-1", "--expires", "2h")
    assert done.exit_code == 0, done.output
    (shown,) = as_json(fabric, "enroll-key", "list")
    assert (shown["id"], shown["gateway"], shown["uses"]) == (parse(done.stdout).id, "berlin-1", 1)
    assert "berlin-1" in fabric("enroll-key", "list").stdout.splitlines()[1].split()
    for words, says in (
        ((), "one of --site and --gateway"),
        (("--site", "berlin", "--gateway", "berlin-1"), "one of --site and --gateway"),
        (("--gateway", "berlin-1", "--role", "hub", "--approve"), "leave out --role, --approve"),
    ):
        refused = fabric("enroll-key", "create", *words)
        assert (refused.exit_code, says in refused.output) == (2, True), refused.output


def test_keys_are_listed_and_revoked(fabric: Leyline) -> None:
    first, second = key_of(fabric), key_of(fabric, "--approve", "--ephemeral", "--gone-after", "5m")
    done = fabric("enroll-key", "list")
    header, *rows = done.stdout.splitlines()
    assert header.split()[:5] == ["id", "site", "role", "state", "used"]
    assert [row.split()[0] for row in rows] == [first.id, second.id]
    assert first.secret not in done.stdout
    refused = fabric("enroll-key", "revoke", first.id)
    assert refused.exit_code == 2, "nobody is there to ask"
    done = fabric("enroll-key", "revoke", first.id, "--yes")
    assert done.stdout == f"key {first.id} (site berlin, used 0 of 1) is revoked\n"
    assert [each["id"] for each in as_json(fabric, "enroll-key", "list")] == [second.id]
    assert [each["state"] for each in as_json(fabric, "enroll-key", "list", "--all")] == ["revoked", "usable"]
    missing = fabric("enroll-key", "revoke", "nobody", "--yes")
    assert (missing.exit_code, "leyline enroll-key list" in missing.stderr) == (1, True)


def test_a_gateway_is_approved(fabric: Leyline) -> None:
    assert fabric("gateway", "pending").stderr == "nobody waits for approval\n"
    key = key_of(fabric)
    name = comes(key)
    header, row = fabric("gateway", "pending").stdout.splitlines()
    assert header.split()[0] == "gateway"
    assert [word for word in row.split() if word in (name, "berlin", "spoke", "e000000001", key.id)] == [
        name,
        "berlin",
        "spoke",
        "e000000001",
        key.id,
    ]
    assert as_json(fabric, "gateway", "pending")[0]["gateway"] == name
    done = fabric("gateway", "approve", name)
    assert done.stdout == f"{name} is approved: revision 2; 2 gateways with a new plan\n"
    assert fabric("gateway", "approve", name).stdout == f"{name} is approved already; nothing was changed\n"
    assert as_json(fabric, "gateway", "pending") == []
    assert fabric("gateway", "approve", "nobody").exit_code == 1


def test_a_gateway_is_put_out(fabric: Leyline) -> None:
    name = comes(key := key_of(fabric, "--approve", "--uses", "2"))
    rule = f"prefixes:\n  - {{site: berlin, prefix: 10.1.9.0/24, gateways: [{name}]}}\n"
    assert fabric("apply", fabric.write("more.yml", rule)).exit_code == 0
    done = fabric("gateway", "revoke", name, "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{name} is out: revision 4; 2 gateways with a new plan",
        "  remove prefix berlin/global/10.1.9.0/24",
        f"the key that it came by, {key.id}, is revoked too",
    ]
    assert "Warning: e000000001 may still be let in by ZeroTier: no ZeroTier controller is configured" in done.stderr
    again = fabric("gateway", "revoke", name, "--yes")
    assert (again.exit_code, "there is no gateway" in again.stderr) == (1, True)


def test_one_who_waits_is_refused(fabric: Leyline) -> None:
    name = comes(key_of(fabric))
    assert fabric("gateway", "revoke", name, "--yes").stdout == f"{name} waited for approval and is refused\n"
    answer = as_json(fabric, "gateway", "revoke", comes(key_of(fabric)), "--yes")
    assert answer["was"] == "pending"


@pytest.mark.parametrize(
    ("expires", "given"), [((), "90 days"), (("--expires", "never"), None), (("--expires", "1h"), "an hour")]
)
def test_the_token_of_a_gateway_expires(fabric: Leyline, expires: tuple[str, ...], given: str | None) -> None:
    answer = as_json(fabric, "gateway", "token", "berlin-1", *expires)
    assert (answer["expires_at"] is None) == (given is None)
    assert fabric("gateway", "token", "berlin-1", "--expires", "soon").exit_code == 2


def test_ones_own_token_is_rotated_where_it_is_stored(leyline: Leyline, running: RunningController) -> None:
    login = leyline("login", "--url", running.url, "--token-stdin", stdin=running.admin + "\n")
    assert login.exit_code == 0, login.output
    done = leyline("token", "rotate", "--grace", "30m")
    assert done.exit_code == 0, done.output
    assert "has the new token" in done.stderr
    assert done.stdout.strip() in leyline.config.read_text()
    assert running.admin not in leyline.config.read_text()
    assert leyline("token", "list").exit_code == 0


def test_a_token_that_is_not_stored_is_only_printed(admin: Leyline) -> None:
    made = as_json(admin, "token", "create", "--role", "viewer", "--note", "display")
    done = admin("token", "rotate", made["id"])
    assert (done.exit_code, done.stderr, done.stdout.startswith("leyline_")) == (0, "", True)
    assert not admin.config.exists()
    own = as_json(admin, "token", "rotate")
    assert own["role"] == "admin"


@pytest.mark.slow
def test_the_fingerprint_is_of_the_certificate_that_is_seen(tmp_path: Path, self_signed: Any) -> None:
    certificate, key = self_signed(tmp_path)
    with RunningController(tmp_path, tls=(certificate, key)) as running:
        expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
        assert fingerprint_of(running.url, str(certificate)) == expected
        with pytest.raises(CommandFailed, match="--fingerprint"):
            fingerprint_of(running.url, "")
    assert fingerprint_of("http://127.0.0.1:1", "") == ""
    with pytest.raises(CommandFailed, match="--fingerprint"):
        fingerprint_of(running.url, str(certificate))
