"""Reading YAML strictly: every surprise becomes a finding with file and line, all of them at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

VARIABLE = re.compile(r"\$(?:\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::[=-](?P<default>[^}\n]*))?\}|(?P<stray>[A-Za-z_{]))")


@dataclass(frozen=True)
class Finding:
    file: str
    line: int  # 1-based; 0 = the file as a whole
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class TopologyError(ValueError):
    """The file is no topology that we can build; `findings` says everything that is wrong."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


@dataclass
class Reader:
    """Collects the findings of one file."""

    file: str
    findings: list[Finding] = field(default_factory=list)

    def wrong(self, line: int, message: str) -> None:
        finding = Finding(self.file, line, message)
        if finding not in self.findings:
            self.findings.append(finding)

    def raise_if_wrong(self) -> None:
        if self.findings:
            raise TopologyError(sorted(self.findings, key=lambda finding: finding.line))


def expand(text: str, environ: Mapping[str, str], reader: Reader) -> str:
    """`${VAR}` and `${VAR:=default}` replaced, comments left alone. An unset variable without default is a finding."""

    def value(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        if _in_comment(text, match.start()):
            return match[0]
        name, default = match["name"], match["default"]
        if match["stray"]:
            reader.wrong(line, f"{match[0]!r}: write ${{NAME}} or ${{NAME:=default}}")
            return ""
        found = environ.get(name) or default
        if found is None:
            reader.wrong(line, f"variable {name} is not set; set it, or write ${{{name}:=default}}")
            return ""
        if "\n" in found:
            reader.wrong(line, f"variable {name} has a line break in it")
            return ""
        return found

    return VARIABLE.sub(value, text)


def _in_comment(text: str, at: int) -> bool:
    line_start = text.rfind("\n", 0, at) + 1
    return text[line_start:at].lstrip().startswith("#")


def load(text: str, reader: Reader, environ: Mapping[str, str]) -> Table:
    """The mapping that the document is. Raises TopologyError at once when it is not even YAML."""
    text = expand(text, environ, reader)
    reader.raise_if_wrong()
    yaml = YAML(typ="rt")
    try:
        document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context).split())
        raise TopologyError([Finding(reader.file, mark.line + 1 if mark else 0, f"not YAML: {problem}")]) from None
    except YAMLError as error:
        raise TopologyError([Finding(reader.file, 0, f"not YAML: {' '.join(str(error).split())}")]) from None
    if not isinstance(document, CommentedMap):
        raise TopologyError([Finding(reader.file, 1, "not a topology: the document must be a mapping")])
    return Table(reader, document, 1, "")


@dataclass
class Table:
    """One mapping of the document, and where it stands. Its readers answer with the empty value when it is wrong."""

    reader: Reader
    data: Mapping[Any, Any]
    line: int
    where: str

    def names(self) -> list[str]:
        return [str(key) for key in self.data]

    def nothing(self) -> Table:
        return Table(self.reader, CommentedMap(), self.line, self.where)

    def line_of(self, key: str) -> int:
        if isinstance(self.data, CommentedMap) and key in self.data and self.data.lc.data:
            return int(self.data.lc.key(key)[0]) + 1
        return self.line

    def wrong(self, key: str, message: str, closest: tuple[str, Collection[str]] | None = None) -> None:
        """One finding at `key`; `closest` = (what was written, what exists)."""
        if closest:
            near = difflib.get_close_matches(closest[0], sorted(closest[1]), 1, 0.5)
            message += (
                f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(sorted(closest[1])) or 'none'}"
            )
        self.reader.wrong(self.line_of(key), message)

    def only(self, *allowed: str) -> None:
        for key in self.names():
            if key not in allowed:
                self.wrong(
                    key, f"{self.where or 'the file'}: key {key!r} is not supported here", closest=(key, allowed)
                )

    def _get(self, key: str, required: bool) -> Any:
        value = self.data.get(key)
        if value is None and required:
            self.wrong(key, f"{self.where or 'the file'}: {key!r} is missing")
        return value

    def text(self, key: str, required: bool = False) -> str:
        value = self._get(key, required)
        if value is None or isinstance(value, str):
            return str(value or "")
        self.wrong(key, f"{self._path(key)}: must be text, not {_kind(value)}; quote it")
        return ""

    def number(self, key: str, default: int, least: int, most: int) -> int:
        value = self._get(key, False)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return int(value)
        self.wrong(key, f"{self._path(key)}: must be a number from {least} to {most}, not {value!r}")
        return default

    def table(self, key: str, required: bool = False) -> Table:
        value = self._get(key, required)
        if value is None:
            return Table(self.reader, CommentedMap(), self.line_of(key), self._path(key))
        if not isinstance(value, CommentedMap):
            self.wrong(key, f"{self._path(key)}: must be a mapping, not {_kind(value)}")
            value = CommentedMap()
        return Table(self.reader, value, self.line_of(key), self._path(key))

    def texts(self, key: str) -> list[str]:
        value = self._get(key, False)
        if value is None:
            return []
        if not isinstance(value, CommentedSeq) or not all(isinstance(item, str) for item in value):
            self.wrong(key, f"{self._path(key)}: must be a list of texts; quote what is not text")
            return []
        return [str(item) for item in value]

    def tables(self, key: str) -> list[Table]:
        value = self._get(key, False)
        if value is None:
            return []
        if not isinstance(value, CommentedSeq) or not all(isinstance(item, CommentedMap) for item in value):
            self.wrong(key, f"{self._path(key)}: must be a list of mappings")
            return []
        lines = [int(value.lc.item(index)[0]) + 1 for index in range(len(value))]
        return [
            Table(self.reader, item, line, f"{self._path(key)}[{i}]")
            for i, (item, line) in enumerate(zip(value, lines, strict=True))
        ]

    def pairs(self, key: str) -> dict[str, str]:
        """A mapping of texts, numbers and truth values, as text, the way a container's environment takes them."""
        table = self.table(key)
        for name, value in table.data.items():
            if not isinstance(value, str | int | float):
                table.wrong(name, f"{table.where}: {name} must be text, a number or a truth value")
        plain = {str(name): value for name, value in table.data.items() if isinstance(value, str | int | float)}
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in plain.items()}

    def _path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key


def _kind(value: Any) -> str:
    names = {CommentedMap: "a mapping", CommentedSeq: "a list", bool: "a truth value", int: "a number"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)
