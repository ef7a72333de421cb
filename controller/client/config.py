"""Which controller, as whom: `~/.config/leyline/config.toml` with named contexts.

```toml
current = "prod"

[contexts.prod]
url = "https://leyline.example"
token = "..."
ca_file = "/etc/leyline/ca.pem"
```

The file holds tokens, so it is written with mode 0600, whole or not at all.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller.client.files import write_whole

CONTEXT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
DEFAULT_CONTEXT = "default"


class ConfigUnusable(ValueError):
    """The file, or a name in it, cannot be used. The message names it and the way out."""


@dataclass(frozen=True)
class StoredContext:
    """One controller as the file knows it. `ca_file` is empty for the system's own certificates."""

    url: str
    token: str = field(repr=False)
    ca_file: str = ""


@dataclass(frozen=True)
class Config:
    """The whole file. `current` is the context in use when nobody names one; may be empty."""

    contexts: Mapping[str, StoredContext] = field(default_factory=dict)
    current: str = ""

    def with_context(self, name: str, context: StoredContext) -> Config:
        """With `name` stored (replaced when there), and current. Raises ConfigUnusable for a bad name."""
        if not CONTEXT_NAME.fullmatch(name):
            raise ConfigUnusable(f"{name!r} is no context name: use letters, digits, '.', '_', '-', at most 63 of them")
        return Config({**self.contexts, name: context}, name)

    def without(self, name: str) -> Config:
        self.context(name)
        left = {key: value for key, value in self.contexts.items() if key != name}
        return Config(left, "" if self.current == name else self.current)

    def using(self, name: str) -> Config:
        self.context(name)
        return replace(self, current=name)

    def context(self, name: str) -> StoredContext:
        """Raises ConfigUnusable, which lists the names that are there."""
        if name in self.contexts:
            return self.contexts[name]
        known = ", ".join(sorted(self.contexts)) or "none is stored"
        raise ConfigUnusable(f"there is no context {name!r} ({known}): leyline login --context {name}")


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CONFIG_HOME/leyline/config.toml`; a relative XDG_CONFIG_HOME is ignored, as its specification says."""
    base = environ.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".config"
    return root / "leyline" / "config.toml"


def load(path: Path) -> Config:
    """The file's content; empty when there is no file. Raises ConfigUnusable."""
    try:
        return _parse(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigUnusable(f"{path}: {error}. Repair it, or remove it and run leyline login") from None


def readable_by_others(path: Path) -> bool:
    """True when group or others may read the file, which holds tokens."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def save(path: Path, config: Config) -> None:
    """Write whole or not at all, mode 0600 in a directory that only the owner may enter. Raises ConfigUnusable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, dump(config), mode=0o600)
    except OSError as error:
        raise ConfigUnusable(f"cannot write {path}: {error}. Set XDG_CONFIG_HOME to a directory you own") from None


def dump(config: Config) -> str:
    """TOML that `tomllib` reads back to an equal Config."""
    lines = [f"current = {quote(config.current)}"] if config.current else []
    for name, context in sorted(config.contexts.items()):
        lines += ["", f"[contexts.{quote(name)}]", f"url = {quote(context.url)}", f"token = {quote(context.token)}"]
        if context.ca_file:
            lines.append(f"ca_file = {quote(context.ca_file)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def quote(text: str) -> str:
    """A TOML basic string. Control characters, quotes and backslashes are escaped."""
    plain = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(plain.get(c) or (f"\\u{ord(c):04X}" if c < " " or c == "\x7f" else c) for c in text) + '"'


def _parse(path: Path, document: dict[str, Any]) -> Config:
    contexts = document.get("contexts", {})
    current = document.get("current", "")
    _refuse_others(path, "the file", document, {"contexts", "current"})
    if not isinstance(contexts, dict) or not isinstance(current, str):
        raise ConfigUnusable(f"{path}: 'contexts' must be a table and 'current' a string")
    return Config({name: _parse_context(path, name, table) for name, table in contexts.items()}, current)


def _parse_context(path: Path, name: str, table: Any) -> StoredContext:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ConfigUnusable(f"{path}: contexts.{name} must be a table of strings: url, token, ca_file")
    _refuse_others(path, f"contexts.{name}", table, {"url", "token", "ca_file"})
    if not table.get("url"):
        raise ConfigUnusable(f"{path}: contexts.{name} has no url")
    return StoredContext(table["url"], table.get("token", ""), table.get("ca_file", ""))


def _refuse_others(path: Path, where: str, table: dict[str, Any], known: set[str]) -> None:
    """A misspelt ca_file that is ignored would be a controller that is not verified as meant."""
    if strangers := sorted(table.keys() - known):
        expected = ", ".join(sorted(known))
        raise ConfigUnusable(f"{path}: {where} has an unknown key {strangers[0]!r}; known are {expected}")
