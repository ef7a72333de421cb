"""Every fenced block has a test that runs it; those of which no other test speaks are run here."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from controller.client.config import Config, StoredContext, load
from controller.policy.client_config import FORMATS, client_config, render
from lab import runner
from tests.controller.policy.test_client_config import inventory
from tests.docs.pages import PAGES, ROOT, blocks, inline, is_drawing, is_of_frr, rows

COMMANDS = "tests/docs/test_commands.py::test_a_command_in_a_block_can_be_typed"
CLIENTS = "tests/controller/policy/test_client_config.py"
RUN_BY = {
    ("README.md", ""): (7, "tests/controller/cli/test_readme.py::test_the_commands_of_an_operator_do_what_they_say"),
    ("cli.md", "toml"): (2, "tests/docs/test_blocks.py::test_the_file_of_contexts_is_one_that_is_read"),
    ("clients.md", ""): (1, "tests/docs/test_blocks.py::test_configuration_of_frr_is_what_frr_takes"),
    ("clients.md", "yaml"): (
        2,
        f"{CLIENTS}::test_the_inventory_in_the_docs_makes_the_configuration_that_they_promise",
    ),
    ("clients.md", "console"): (1, COMMANDS),
    ("communities.md", "console"): (
        1,
        "tests/docs/test_commands.py::test_the_console_of_communities_says_what_python_says",
    ),
    ("enrolment.md", ""): (2, COMMANDS),
    ("enrolment.md", "text"): (1, "tests/speaker/enroll/test_key.py::test_the_form_in_the_page_is_that_of_keys"),
    ("explain.md", "text"): (1, "tests/controller/cli/test_explain.py::test_all_of_it_is_printed"),
    ("intent.md", "yaml"): (
        3,
        "tests/controller/cli/test_intent_docs.py::test_golden_every_example_does_what_the_page_says",
    ),
    ("intent.md", "console"): (
        6,
        "tests/controller/cli/test_intent_docs.py::test_golden_every_example_does_what_the_page_says",
    ),
    ("inventory.md", "yaml"): (
        10,
        "tests/controller/inventory/test_document.py::test_the_documented_examples_add_up_to_a_sound_fabric",
    ),
    ("lab.md", ""): (1, COMMANDS),
    ("migration.md", ""): (2, COMMANDS),
    ("paths.md", "yaml"): (1, "tests/docs/test_paths.py::test_the_yaml_of_the_page_is_of_what_there_is"),
    ("segment.md", ""): (2, COMMANDS),
    ("segment.md", "yaml"): (1, "tests/docs/test_segment.py::test_the_inventory_of_the_page_is_read"),
    ("zerotier.md", ""): (1, COMMANDS),
    ("zerotier.md", "json"): (1, "tests/speaker/zerotier/test_config.py::test_the_file_in_the_page_is_what_is_written"),
    ("lab.md", "python"): (2, "tests/docs/test_blocks.py::test_python_in_the_page_of_labs_is_typed_as_labs_are"),
}
"""(page, language) -> how many blocks, and the test that takes all of them."""


def test_every_block_has_a_test() -> None:
    there = Counter((block.page, block.language) for block in blocks() if not is_drawing(block))
    assert dict(there) == {key: count for key, (count, _) in RUN_BY.items()}


@pytest.mark.parametrize("test", sorted({test for _, test in RUN_BY.values()}))
def test_the_test_of_a_block_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


def toml() -> list[str]:
    return [block.text for block in blocks("toml", "cli.md")]


def test_the_file_of_contexts_is_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(toml()[0])
    prod = StoredContext("https://leyline.example", "leyline_...", "/etc/leyline/ca.pem")
    assert load(path) == Config({"prod": prod}, current="prod")


def test_the_entry_point_of_another_package_becomes_a_command(tmp_path: Path) -> None:
    (group,) = tomllib.loads(toml()[1])["project"]["entry-points"].items()
    ((name, value),) = group[1].items()
    module, _, attribute = value.partition(":")
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group[0]}]\n{name} = {value}\n")
    (tmp_path / f"{module}.py").write_text(f"import click\n@click.command()\ndef {attribute}(): click.echo('runs')\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from controller.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
    assert done.stdout == "runs\n", done.stderr


@pytest.mark.root
def test_configuration_of_frr_is_what_frr_takes(tmp_path: Path) -> None:
    """vtysh reads it against FRR's own grammar; nothing is configured."""
    (block,) = [each for each in blocks("") if is_of_frr(each)]
    path = tmp_path / "frr.conf"
    path.write_text(block.text)
    done = subprocess.run(["vtysh", "--dryrun", "-f", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_python_in_the_page_of_labs_is_typed_as_labs_are(tmp_path: Path) -> None:
    """mypy --strict, against lab/ itself: a method that is gone, or has other arguments, is an error."""
    scenario, cuts = (block.text for block in blocks("python", "lab.md"))
    (tmp_path / "scenario.py").write_text(scenario)
    body = "".join(f"    {line}\n" for line in cuts.splitlines())
    imports = "from lab.cuts import Cuts\nfrom lab.expect import Run\n\n\ndef broken(run: Run) -> None:\n"
    (tmp_path / "cuts.py").write_text(imports + body)
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    done = subprocess.run(
        [*command, "--config-file=", str(tmp_path / "scenario.py"), str(tmp_path / "cuts.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_a_scenario_as_shown_is_one_that_the_runner_loads(tmp_path: Path) -> None:
    (tmp_path / "scenario.py").write_text(blocks("python", "lab.md")[0].text)
    _, scenario = runner.load(str(tmp_path))
    assert callable(scenario.scenario)
    read = Path(runner.__file__).read_text()
    for name in (each for each in vars(scenario) if each.isupper()):
        assert f'getattr(scenario, "{name}"' in read, f"nobody reads {name}"


def written(software: Any) -> str:
    """The lines of an eBGP client's configuration, without comments."""
    lines = render(client_config(inventory(), "partner"), software).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("#", "!")))


def test_what_clients_are_told_to_configure_is_what_is_written_for_them() -> None:
    named = inline("clients.md")
    assert "no neighbor X enforce-first-as" in named
    assert "no neighbor 10.42.0.1 enforce-first-as" in written("frr")
    assert "enforce first as off" in named
    assert "enforce first as off;" in written("bird")


def test_the_table_of_software_is_true_of_what_is_written() -> None:
    table = {cells[0]: cells for cells in rows("clients.md", "software")}
    assert len(table) == len(FORMATS)
    for software in FORMATS:
        head = render(client_config(inventory(), "partner"), software).splitlines()[1]
        (cells,) = [cells for name, cells in table.items() if f"For {name.removesuffix(' (not run)')}" in head]
        assert (cells[2] == "yes") == ("graceful" in written(software)), software
        loaded = software in ("frr", "bird")  # By tests/netns/test_clients.py.
        assert loaded != cells[0].endswith("(not run)"), software


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page, text in PAGES.items():
        named = {code for code in inline(page) if code.startswith(("leyline-sdwan", "pip install leyline"))}
        for code in named:
            name, _, extra = code.removeprefix("pip install ").partition("[")
            assert name == project["name"], text
            assert extra.removesuffix("]") in {"", *project["optional-dependencies"]}, code
