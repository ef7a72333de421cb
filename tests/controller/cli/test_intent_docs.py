"""docs/intent.md is one session: its files are applied, its commands are run, its outputs are what comes."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tests.controller.cli.conftest import Leyline

PAGE = Path(__file__).resolve().parents[3] / "docs" / "intent.md"
BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.M | re.S)
FILES = ("inventory.yml", "rule.yml", "rules.yml")


def test_golden_every_example_does_what_the_page_says(admin: Leyline) -> None:
    text = PAGE.read_text()
    files = iter(FILES)
    done = text
    for kind, body in BLOCK.findall(text):
        if kind == "yaml":
            name = next(files)
            path = admin.write(name, body)
            if name == FILES[0]:
                assert admin("apply", path).exit_code == 0
            continue
        command, _, _ = body.partition("\n")
        arguments = shlex.split(command.removeprefix("$ leyline "))
        shown = admin(*(str(admin.home / each) if each in FILES else each for each in arguments)).output
        now = f"{command}\n{shown.replace(str(admin.home) + '/', '')}"
        done = done.replace(f"```console\n{body}```", f"```console\n{now}```")
    if os.environ.get("LEYLINE_GOLDEN") == "rewrite":
        PAGE.write_text(done)
    assert done == PAGE.read_text()
