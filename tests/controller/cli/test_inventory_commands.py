"""`validate`, `apply`, `export`, `rename` against a real controller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.controller.cli.conftest import INVENTORY, Leyline
from tests.controller.cli.running import RunningController

WITHOUT_A_PREFIX = INVENTORY.replace("  - {site: paris, prefix: 10.2.1.0/24}\n", "")
WITHOUT_BERLIN = "".join(
    line for line in INVENTORY.split("  - name: berlin-1")[0].splitlines(keepends=True) if "berlin" not in line
)


def lines(text: str) -> list[list[str]]:
    """Output as words."""
    return [line.split() for line in text.splitlines()]


# validate


def test_validate_says_what_it_has_seen(leyline: Leyline) -> None:
    done = leyline("validate", leyline.write("i/fabric.yml", INVENTORY))
    assert (done.exit_code, done.stdout) == (0, "good: 2 sites, 2 gateways, 2 prefixes\n")


def test_validate_needs_no_controller_and_reads_directories(leyline: Leyline) -> None:
    head, tail = INVENTORY.split("prefixes:")
    leyline.write("i/a.yml", head)
    leyline.write("i/b.yaml", "prefixes:" + tail)
    done = leyline("validate", "--json", str(leyline.home / "i"), LEYLINE_URL="http://127.0.0.1:1")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"ok": True, "findings": []}


def test_validate_names_file_and_line_of_everything_wrong(leyline: Leyline) -> None:
    bad = INVENTORY.replace("{name: paris, region: eu}", "{name: paris, region: mars}")
    path = leyline.write("bad.yml", bad.replace("10.1.1.0/24", "10.9.1.0/24"))
    done = leyline("validate", path)
    assert done.exit_code == 1
    assert f"{path}:6" in done.stdout
    assert "site paris" in done.stdout
    assert f"{path}:11" in done.stdout
    assert "prefix berlin/global/10.9.1.0/24" in done.stdout
    assert done.stderr == "Error: 2 findings\n"


def test_validate_json_carries_the_findings(leyline: Leyline) -> None:
    path = leyline.write("bad.yml", INVENTORY.replace("role: hub", "role: king"))
    done = leyline("validate", "--json", path)
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"]) == (1, False)
    finding = document["findings"][0]
    assert (finding["object"], finding["file"], finding["line"]) == ("gateway hub-1", path, 16)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sites:\n  - {name: a\n", "bad.yml:"),
        ("sites: [\x00]", "bad.yml"),
        ("fabric: {name: a, name: b}", "bad.yml:1"),
        ("gatways: []", "gatways"),
        ('{"sites": [{"name": "a"', "bad.yml"),
        ("- a\n- b\n", "bad.yml"),
    ],
)
def test_malformed_files_are_findings_and_no_traceback(leyline: Leyline, text: str, said: str) -> None:
    done = leyline("validate", leyline.write("bad.yml", text))
    assert done.exit_code == 1
    assert said in done.stdout
    assert "Traceback" not in done.output


def test_validate_of_a_path_that_is_not_there_is_wrong_usage(leyline: Leyline) -> None:
    done = leyline("validate", "nowhere.yml")
    assert done.exit_code == 2
    assert "'nowhere.yml' does not exist" in done.stderr


# apply


def test_apply_shows_the_changes_and_the_revision(admin: Leyline) -> None:
    done = admin("apply", admin.write("i.yml", INVENTORY))
    assert done.exit_code == 0, done.output
    shown = lines(done.stdout)
    assert shown[0] == ["action", "object", "fields"]
    assert ["add", "site", "berlin"] in shown
    assert ["add", "prefix", "paris/global/10.2.1.0/24"] in shown
    assert done.stdout.splitlines()[-1] == "revision 1: 10 added; 2 gateways with a new plan"


def test_apply_again_changes_nothing(declared: Leyline) -> None:
    done = declared("apply", str(declared.home / "inventory.yml"))
    assert (done.exit_code, done.stdout) == (0, "nothing to change; the fabric stays at revision 1\n")


def test_apply_shows_old_and_new_values(declared: Leyline) -> None:
    path = declared.write("part.yml", "sites:\n  - {name: berlin, region: eu, provider: acme, tags: [dc, big]}\n")
    done = declared("apply", path)
    assert done.exit_code == 0, done.output
    assert "provider: - -> acme; tags: dc -> dc,big" in done.stdout or "tags: dc -> big,dc" in done.stdout
    assert "revision 2: 1 changed; " in done.stdout


def test_dry_run_stores_nothing(declared: Leyline) -> None:
    path = declared.write("part.yml", "prefixes:\n  - {site: berlin, prefix: 10.1.2.0/24}\n")
    done = declared("apply", "--dry-run", path)
    assert (done.exit_code, done.stdout.splitlines()[-1][:38]) == (0, "dry run, nothing was stored: 1 added; ")
    assert "10.1.2.0" not in declared("export").stdout


def test_apply_json_is_the_controllers_answer(declared: Leyline) -> None:
    path = declared.write("part.yml", "prefixes:\n  - {site: berlin, prefix: 10.1.2.0/24}\n")
    answer = json.loads(declared("apply", "--json", path).stdout)
    assert (answer["revision"], answer["dry_run"]) == (2, False)
    assert answer["changes"] == [{"action": "add", "object": "prefix berlin/global/10.1.2.0/24", "fields": {}}]


def test_files_that_are_wrong_are_not_sent(leyline: Leyline) -> None:
    path = leyline.write("bad.yml", INVENTORY.replace("role: hub", "role: king"))
    done = leyline("apply", path, LEYLINE_URL="http://127.0.0.1:1", LEYLINE_TOKEN="x")
    assert done.exit_code == 1
    assert f"{path}:16" in done.stdout
    assert done.stderr == "Error: 1 finding in the files; nothing was sent\n"


def test_what_the_controller_refuses_is_shown_with_file_and_line(declared: Leyline) -> None:
    path = declared.write("part.yml", "\nprefixes:\n  - {site: berlin, prefix: 10.9.2.0/24}\n")
    done = declared("apply", path)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "1 finding; nothing was changed" in done.stderr
    assert f"{path}:3" in done.stderr
    assert "prefix berlin/global/10.9.2.0/24" in done.stderr
    problem = json.loads(declared("apply", "--json", path).stdout)
    assert (problem["status"], problem["findings"][0]["file"], problem["findings"][0]["line"]) == (422, path, 3)


# prune


def test_prune_without_anybody_to_ask_is_wrong_usage(declared: Leyline) -> None:
    done = declared("apply", "--prune", declared.write("i.yml", WITHOUT_A_PREFIX))
    assert done.exit_code == 2
    assert "prefix paris/global/10.2.1.0/24" in done.stderr
    assert "Remove 1 object that the files lack? Nobody is there to ask: give --yes" in done.stderr
    assert "10.2.1.0/24" in declared("export").stdout


def test_prune_with_yes_lists_and_removes(declared: Leyline) -> None:
    done = declared("apply", "--prune", "--yes", declared.write("i.yml", WITHOUT_A_PREFIX))
    assert done.exit_code == 0, done.output
    assert "would be removed" in done.stderr
    assert "revision 2: 1 removed; " in done.stdout
    assert "10.2.1.0/24" not in declared("export").stdout


def test_prune_of_nothing_does_not_ask(declared: Leyline) -> None:
    done = declared("apply", "--prune", str(declared.home / "inventory.yml"))
    assert (done.exit_code, done.stderr) == (0, "")


def test_prune_asks_on_a_terminal_and_no_changes_nothing(declared: Leyline) -> None:
    path = declared.write("i.yml", WITHOUT_A_PREFIX)
    code, seen = declared.on_terminal("apply", "--prune", path, answers={"[y/N]:": "n"})
    assert code == 1
    assert "Remove 1 object that the files lack? [y/N]" in seen
    assert "nothing was changed" in seen
    assert "10.2.1.0/24" in declared("export").stdout
    code, seen = declared.on_terminal("apply", "--prune", path, answers={"[y/N]:": "y"})
    assert code == 0, seen
    assert "10.2.1.0/24" not in declared("export").stdout


def test_prune_removes_only_what_was_agreed_to(declared: Leyline) -> None:
    path = declared.write("i.yml", WITHOUT_A_PREFIX)
    other = declared.write("other.yml", "prefixes:\n  - {site: berlin, prefix: 10.1.9.0/24}\n")

    def yes_but_somebody_was_quicker() -> str:
        assert declared("apply", other).exit_code == 0
        return "y"

    code, seen = declared.on_terminal("apply", "--prune", path, answers={"[y/N]:": yes_but_somebody_was_quicker})
    assert code == 1
    assert "read it again, and decide again" in seen
    assert "10.1.9.0/24" in declared("export").stdout
    assert "10.2.1.0/24" in declared("export").stdout


def test_many_removals_need_to_be_allowed(declared: Leyline) -> None:
    path = declared.write("i.yml", WITHOUT_BERLIN)
    refused = declared("apply", "--prune", "--yes", path)
    assert refused.exit_code == 1
    assert "--allow-removals 1" in refused.stderr
    done = declared("apply", "--prune", "--yes", "--allow-removals", "1", path)
    assert done.exit_code == 0, done.output
    assert json.loads(declared("export", "--format", "json").stdout)["sites"][0]["name"] == "paris"


def test_dry_run_of_prune_does_not_ask(declared: Leyline) -> None:
    done = declared("apply", "--prune", "--dry-run", declared.write("i.yml", WITHOUT_A_PREFIX))
    assert done.exit_code == 0, done.output
    assert ["remove", "prefix", "paris/global/10.2.1.0/24"] in lines(done.stdout)
    assert "10.2.1.0/24" in declared("export").stdout


# export


def test_export_is_what_apply_reads(declared: Leyline) -> None:
    out = declared.home / "out.yml"
    done = declared("export", "-o", str(out))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"{out}: 2 sites, 2 gateways, 2 prefixes\n"
    assert declared("validate", str(out)).exit_code == 0
    assert declared("apply", "--prune", str(out)).stdout == "nothing to change; the fabric stays at revision 1\n"


def test_export_formats_agree(declared: Leyline, tmp_path: Path) -> None:
    as_json = declared("export", "--format", "json").stdout
    copy = declared.write("copy.json", as_json)
    assert declared("apply", "--prune", copy).stdout == "nothing to change; the fabric stays at revision 1\n"
    with RunningController(_directory(tmp_path / "other")) as other:
        yaml = declared.write("copy.yml", declared("export").stdout)
        assert declared("apply", yaml, LEYLINE_URL=other.url, LEYLINE_TOKEN=other.admin).exit_code == 0
        again = declared("export", "--format", "json", LEYLINE_URL=other.url, LEYLINE_TOKEN=other.admin).stdout
    assert again == as_json


def test_export_that_cannot_be_written_leaves_nothing(declared: Leyline) -> None:
    done = declared("export", "-o", str(declared.home / "no" / "such" / "file.yml"))
    assert done.exit_code == 1
    assert "cannot write" in done.stderr


# rename


def test_rename_keeps_numbers(declared: Leyline) -> None:
    before = json.loads(declared("export", "--format", "json").stdout)
    done = declared("rename", "gateway", "berlin-1", "berlin-a")
    assert done.exit_code == 0, done.output
    after = json.loads(declared("export", "--format", "json").stdout)
    uplinks = {g["name"]: g["uplinks"] for g in before["gateways"]}
    assert {g["name"]: g["uplinks"] for g in after["gateways"]} == {
        "berlin-a": uplinks["berlin-1"],
        "hub-1": uplinks["hub-1"],
    }


def test_rename_of_what_is_not_there(declared: Leyline) -> None:
    done = declared("rename", "site", "berlni", "x")
    assert done.exit_code == 1
    assert "berlin" in done.stderr
    assert json.loads(declared("rename", "--json", "site", "berlni", "x").stdout)["status"] == 422


def test_rename_of_another_kind_is_wrong_usage(declared: Leyline) -> None:
    assert declared("rename", "prefix", "a", "b").exit_code == 2


def _directory(path: Path) -> Path:
    path.mkdir()
    return path
