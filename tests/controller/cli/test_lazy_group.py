"""`leyline` itself: what it imports, what it says when a part is missing, what it takes from other packages."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from controller.cli import BUILTINS, EXIT_NOT_INSTALLED, cli, load_builtin

HEAVY = ("fastapi", "sqlalchemy", "pyroute2", "exabgp", "httpx2", "rich", "ruamel", "pydantic", "networkx", "msgspec")
ROOT = Path(__file__).resolve().parents[3]


def python(code: str, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(p) for p in (path, ROOT) if p])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False)


def leyline(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python(
        f"import sys; sys.argv = ['leyline', *{arguments!r}]; from controller.cli import main; main()", path=path
    )


def test_help_imports_click_only() -> None:
    done = python(
        "import sys; from controller.cli import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_our_own_commands_do_not_look_for_others() -> None:
    done = python(
        "import sys; from controller.cli import cli\n"
        "try: cli.main(['validate', '--help'])\n"
        "except SystemExit: pass\n"
        "print('importlib.metadata' in sys.modules, file=sys.stderr)"
    )
    assert done.stderr == "False\n"


def test_help_names_every_command_with_its_help() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for name, builtin in BUILTINS.items():
        assert f"  {name}" in text
        assert builtin.help in text
    assert "Exit codes:" in text


def seconds_of(code: str) -> float:
    """Processor time of a Python that runs `code`: unlike the clock's it does not grow with what runs beside it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, env=environ, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_help_is_quick() -> None:
    """250 ms is what feels immediate; on a machine where click alone takes 100 ms, two and a half times that."""
    anchor, ours = [], []
    for _ in range(5):
        anchor.append(seconds_of("import click"))
        ours.append(seconds_of("from controller.cli import cli; cli.main(['--help'])"))
    assert min(ours) < max(0.25, 2.5 * min(anchor))


def test_version_is_the_distributions() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"leyline {metadata.version('leyline-sdwan')}\n"


def test_unknown_command_suggests_the_near_one() -> None:
    done = CliRunner().invoke(cli, ["aply"])
    assert done.exit_code == 2
    assert "There is no command 'aply'. Did you mean 'apply'?" in done.stderr


@pytest.mark.parametrize("name", [name for name, builtin in BUILTINS.items() if not builtin.extra])
def test_the_table_agrees_with_the_command(name: str) -> None:
    """The one-line help stands twice, so that --help need not import the command."""
    command = load_builtin(name)
    assert command.name == name
    assert command.get_short_help_str(limit=200).rstrip(".") == BUILTINS[name].help.rstrip(".")


@pytest.fixture
def without_extras(tmp_path: Path) -> Path:
    """A directory which, first on the path, makes the extras' packages look as if they were not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'fastapi', 'sqlalchemy', 'uvicorn', 'alembic', 'exabgp', 'pyroute2'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    return tmp_path


def test_missing_extra_is_one_line_with_the_way_out(without_extras: Path) -> None:
    done = leyline("controller", "serve", path=without_extras)
    assert done.returncode == EXIT_NOT_INSTALLED
    assert "pip install 'leyline-sdwan[controller]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_operators_commands_need_no_extra(without_extras: Path) -> None:
    done = leyline("show", "--help", path=without_extras)
    assert done.returncode == 0, done.stderr
    assert "routes" in done.stdout


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """An installed distribution with entry points of its own."""
    info = tmp_path / "acme_leyline-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-leyline\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[leyline.commands]\nacme = acme_leyline:acme\ngroup = acme_leyline\napply = acme_leyline:acme\n"
        "broken = acme_leyline:nothing\nodd = acme_leyline:odd\n"
    )
    (tmp_path / "acme_leyline.py").write_text(
        "import click\n@click.command()\ndef acme(): click.echo('acme runs')\nCOMMANDS = {'group': acme}\nodd = 7\n"
    )
    return tmp_path


@pytest.mark.slow
def test_other_packages_add_commands(stranger: Path) -> None:
    assert re.search(r"acme +From acme-leyline 1\.2\.", leyline("--help", path=stranger).stdout)
    assert leyline("acme", path=stranger).stdout == "acme runs\n"
    assert leyline("group", path=stranger).stdout == "acme runs\n"


def test_other_packages_cannot_take_over_a_command(stranger: Path) -> None:
    done = leyline("apply", "--help", path=stranger)
    assert "Merge inventory files" in done.stdout
    assert leyline("--help", path=stranger).stdout.count("\n  apply ") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("broken", "which the package acme-leyline provides, does not load"), ("odd", "is no click command")],
)
def test_a_broken_command_of_another_package_is_named(stranger: Path, name: str, said: str) -> None:
    done = leyline(name, path=stranger)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_builtin_says_where_it_is() -> None:
    for name, builtin in BUILTINS.items():
        assert builtin.module.partition(".")[0] in ("controller", "speaker", "lab"), name
        assert isinstance(click.Command(name), click.Command)
