"""`leyline client-config`: the text as it is, and nothing else, on stdout."""

from __future__ import annotations

import json

from tests.controller.cli.conftest import INVENTORY, Leyline

CLIENT = "clients:\n  - {name: partner, site: berlin, circuit_class: fiber, asn: 65021}\n"


def test_the_text_is_all_that_is_printed(admin: Leyline) -> None:
    assert admin("apply", admin.write("inventory.yml", INVENTORY + CLIENT)).exit_code == 0
    done = admin("client-config", "partner", "--format", "frr")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("! BGP of partner")
    assert "\nrouter bgp 65021\n" in done.stdout
    assert json.loads(admin("client-config", "partner", "--format", "frr", "--json").stdout)["text"] == done.stdout


def test_an_unknown_client_is_refused_and_an_unknown_software_is_wrong_usage(declared: Leyline) -> None:
    done = declared("client-config", "nobody", "--format", "bird")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no client nobody" in done.stderr
    assert declared("client-config", "nobody", "--format", "ios").exit_code == 2
