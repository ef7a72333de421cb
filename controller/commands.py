"""The operator's subcommands of `leyline`. Needs the base installation only: heavy imports are inside functions."""

from __future__ import annotations

import click

from controller.client.apply import apply, export, rename, validate
from controller.client.client_config import client_config
from controller.client.doctor import doctor
from controller.client.drain import drain, undrain
from controller.client.enroll import approve, enroll_key, pending, revoke
from controller.client.explain import explain
from controller.client.import_zerotier import import_group
from controller.client.login import context, login
from controller.client.md5 import fabric
from controller.client.segment import segment
from controller.client.show import show
from controller.client.tokens import gateway, token
from controller.client.whatif import whatif

for each in (pending, approve, revoke):
    gateway.add_command(each)

COMMANDS: dict[str, click.Command] = {
    "apply": apply,
    "client-config": client_config,
    "context": context,
    "doctor": doctor,
    "drain": drain,
    "enroll-key": enroll_key,
    "explain": explain,
    "export": export,
    "fabric": fabric,
    "gateway": gateway,
    "import": import_group,
    "login": login,
    "rename": rename,
    "segment": segment,
    "show": show,
    "token": token,
    "undrain": undrain,
    "validate": validate,
    "whatif": whatif,
}
"""Top-level name -> command. The lazy group in controller/cli.py has these names in its table."""
