"""One YAML 1.2 text -> plain data that knows its lines.

Built on ruamel's events: its own loaders keep no lines (safe) or take seconds for 5,000 prefixes
(round trip). Plain scalars follow the core schema of YAML 1.2: no `yes`, no sexagesimal numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.docinfo import DocInfo
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader, ReaderError
from ruamel.yaml.scanner import Scanner

from controller.inventory.fields import Unquoted, shown
from controller.inventory.findings import Finding

MAX_DEPTH = 16
MAX_ALIASED = 10_000
"""Nodes that aliases may stand for, all together: a few lines of YAML can mean billions of them."""

_INT = re.compile(r"[-+]?[0-9]{1,4000}|0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII
)
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
AS_WRITTEN = frozenset({"node_id"})
"""Fields whose text is kept when YAML reads a number: 12345678e9 is a node id."""


class YamlMapping(dict[str, Any]):
    """A mapping of one file. `line` is its own, `lines` those of its keys."""

    __slots__ = ("file", "line", "lines")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file, self.line = file, line
        self.lines: dict[str, int] = {}


class YamlList(list[Any]):
    """A list of one file; `lines` are those of its items."""

    __slots__ = ("file", "line", "lines")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file, self.line = file, line
        self.lines: list[int] = []


class _Refused(Exception):
    def __init__(self, line: int, code: str, message: str) -> None:
        super().__init__(message)
        self.line, self.code, self.message = line, code, message


def read_yaml(text: str, file: str) -> tuple[Any, list[Finding]]:
    """The data in `text` (mappings are YamlMapping, lists YamlList; None when empty), and what is wrong with it.

    What cannot be read to its end has no data. Raises nothing, whatever the text.
    """
    builder = _Builder(file)
    try:
        return builder.read(text), builder.findings
    except _Refused as error:
        line, code, message = error.line, error.code, error.message
    except ReaderError as error:
        line, code = text.count("\n", 0, error.position) + 1, "yaml-character"
        message = f"character {shown(chr(ord(text[error.position])))} is not allowed here: remove it"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, code, message = (mark.line + 1 if mark else 1), "yaml-syntax", _explained(error)
    except (YAMLError, ValueError, OverflowError) as error:  # ValueError: escapes such as "\UFFFFFFFF".
        line, code, message = 1, "yaml-syntax", f"this is no YAML: {error}"
    builder.findings.append(Finding("document", code, message, file, line))
    return None, builder.findings


def _explained(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    context = f" {error.context}" if error.context and error.context != problem else ""
    hint = ": indent with spaces, not with tabs" if "\\t" in problem or "\t" in problem else ""
    return f"{problem}{context}{hint}"


class _Events(Reader, Scanner, Parser):
    """ruamel's reader, scanner and parser as one object. YAML() asks for its parts by name, for every token."""

    processing_version = (1, 2)
    comment_handling = None
    reader: Any = None
    scanner: Any = None
    resolver: Any = None

    def __init__(self, text: str) -> None:
        self.reader = self.scanner = self.resolver = self
        self.doc_infos = [DocInfo()]  # A %YAML directive is noted here.
        Reader.__init__(self, text, loader=self)
        Scanner.__init__(self, loader=self)
        Parser.__init__(self, loader=self)

    def need_more_tokens(self) -> bool:
        """As the scanner's own, but what cannot change the answer is not looked at: this is asked for every token."""
        if self.done or not self.tokens:
            return not self.done
        for key in self.possible_simple_keys.values():
            if key.token_number == self.tokens_taken:
                return bool(super().need_more_tokens())
        return False


def _events(text: str) -> Iterator[Any]:
    parser = _Events(text)
    while parser.check_event():
        yield parser.get_event()


class _Builder:
    """Walks the events once. The stack of open containers is Python's own: MAX_DEPTH keeps it short."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0  # Built so far: the size of a part is a difference.
        self.aliased = 0
        self.events: Iterator[Any] = iter(())

    def read(self, text: str) -> Any:
        self.events = _events(text)
        data, documents = None, 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    message = "a second document begins: one file holds one document"
                    raise _Refused(_line(event), "yaml-several-documents", message)
                data = self.node(next(self.events), 0)
        return data

    def node(self, event: Any, depth: int, field: str = "") -> Any:
        if isinstance(event, AliasEvent):
            return self.alias(event)
        if depth > MAX_DEPTH:
            raise _Refused(_line(event), "yaml-too-deep", f"nested deeper than {MAX_DEPTH}: no inventory needs that")
        before = self.nodes
        self.nodes += 1
        data: Any
        if isinstance(event, ScalarEvent):
            data = self.scalar(event, field)
        elif isinstance(event, SequenceStartEvent):
            data = self.list(event, depth)
        else:
            data = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = (data, self.nodes - before)
        return data

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            raise _Refused(_line(event), "yaml-alias", f"*{event.anchor} has no anchor before it")
        data, size = self.anchors[event.anchor]
        self.aliased += size
        self.nodes += size
        if self.aliased > MAX_ALIASED:
            message = f"aliases stand for more than {MAX_ALIASED} nodes: write out what is meant"
            raise _Refused(_line(event), "yaml-alias", message)
        return data

    def list(self, start: Any, depth: int) -> YamlList:
        self.no_tag(start)
        found = YamlList(self.file, _line(start))
        while not isinstance(event := next(self.events), SequenceEndEvent):
            found.lines.append(_line(event))
            found.append(self.node(event, depth + 1))
        return found

    def mapping(self, start: Any, depth: int) -> YamlMapping:
        if not isinstance(start, MappingStartEvent):  # An empty document that ruamel gives no scalar for.
            raise _Refused(_line(start), "yaml-syntax", "a value is missing here")
        self.no_tag(start)
        found = YamlMapping(self.file, _line(start))
        while not isinstance(event := next(self.events), MappingEndEvent):
            line = _line(event)
            key = self.node(event, depth + 1, "node_id")  # "node_id": keys are taken as they are written.
            value_event = next(self.events)
            if not isinstance(key, str):
                self.say(line, "yaml-key", f"{shown(key)} cannot be the name of a field: a word is meant")
                self.node(value_event, depth + 1)
            elif key in found:
                message = (
                    f"{shown(key)} stands here twice, the first time in line {found.lines[key]}: remove one of them"
                )
                self.say(line, "yaml-key-twice", message)
                self.node(value_event, depth + 1)
            else:
                found.lines[str(key)] = line
                found[str(key)] = self.node(value_event, depth + 1, key)
        return found

    def scalar(self, event: Any, field: str) -> Any:
        text = str(event.value)
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            self.no_tag(event)
        if event.style is not None or event.tag is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        first = text[:1]
        if first not in "0123456789-+." or not (_INT.fullmatch(text) or _FLOAT.fullmatch(text)):
            return text
        if field in AS_WRITTEN:
            return Unquoted(text)
        return _number(text)

    def no_tag(self, event: Any) -> None:
        if event.tag is not None:
            self.say(_line(event), "yaml-tag", f"tag {shown(str(event.tag))} means nothing here: remove it")

    def say(self, line: int, code: str, message: str) -> None:
        self.findings.append(Finding("document", code, message, self.file, line))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _number(text: str) -> int | float:
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    lower = text.lower()
    return float(lower.replace(".", "") if lower.endswith(("inf", "nan")) else lower)
