"""YAML text -> nodes that know their place, with bounded depth, size and alias expansion.

PyYAML's events (C parser where present) give the places. They are composed here, with a stack of our own, because PyYAML's
composer recurses once per level. Scalars keep their raw text: what it means is decided by the key it stands under, so that
`on`, `1:30` or `2024-01-01` never turn into something that the user did not write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from steerd.config.problems import Mark, Problems, quote

__all__ = ["MAX_BYTES", "Entry", "Mapping", "Node", "Scalar", "Sequence", "compose", "describe", "plain_value"]

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of one file. 100 000 endpoints on a line each are about 12 MiB."""
MAX_DEPTH = 64
MAX_NODES = 2_000_000
"""Nodes after aliases are expanded, so that a short file cannot ask for endless work."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,2})?")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Scalar:
    """A leaf. `plain` is False when it was quoted or a block."""

    mark: Mark
    text: str
    plain: bool = True

    @property
    def null(self) -> bool:
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    mark: Mark
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    mark: Mark
    value: Node


@dataclass(slots=True)
class Mapping:
    mark: Mark
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def describe(node: Node) -> str:
    """What a node is, in words."""
    if isinstance(node, Scalar):
        return "an empty value" if node.null else quote(node.text)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def plain_value(text: str, *, plain: bool) -> Any:
    """What a free-form scalar means (YAML 1.2 core schema without octal, infinity and the like)."""
    if not plain:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Stop(Exception):
    """The text cannot be read any further; the problem is noted."""


@dataclass(slots=True)
class _Open:
    """A collection being composed. `merges` are the `<<` values, applied when it closes."""

    node: Mapping | Sequence
    anchor: str | None
    key: Scalar | None = None
    merges: list[Node] = field(default_factory=list)
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Anchored:
    node: Node
    size: int
    height: int


def compose(text: str, file: str, problems: Problems, *, start: str = "fleet: NAME") -> Node | None:
    """The one document in `text`, or None when it cannot be read; what is wrong goes to `problems`. `start` is what an
    empty file should begin with. Never raises."""
    if len(text) > MAX_BYTES:
        problems.add(
            Mark(file, 1, 1), f"the file is over {MAX_BYTES // 2**20} MiB: split endpoints into files of their own"
        )
        return None
    try:
        loader = _LOADER(text)
    except (yaml.YAMLError, UnicodeError) as error:
        _syntax(error, text, file, problems)
        return None
    try:
        return _Composer(loader, file, problems, start).run()
    except _Stop:
        return None
    except (yaml.YAMLError, UnicodeError) as error:
        _syntax(error, text, file, problems)
        return None
    finally:
        loader.dispose()


def _syntax(error: Exception, text: str, file: str, problems: Problems) -> None:
    if isinstance(error, yaml.reader.ReaderError):
        at = error.position if isinstance(error.position, int) else 0
        line = text.count("\n", 0, at) + 1
        problems.add(Mark(file, line, at - text.rfind("\n", 0, at)), "a character that YAML does not allow: remove it")
        return
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file, 1, 1)
        words = ", ".join(str(w) for w in (error.problem, error.context) if w) or "this is not YAML"
        problems.add(place, f"not valid YAML: {words}; check indentation, brackets and quotes here and just before")
        return
    problems.add(Mark(file, 1, 1), "not valid YAML: the text holds characters outside Unicode; save it as UTF-8")


class _Composer:
    """Builds nodes from events without recursion."""

    def __init__(self, loader: Any, file: str, problems: Problems, begin: str) -> None:
        self._loader = loader
        self._begin = begin
        self._file = file
        self._problems = problems
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._root: Node | None = None
        self._documents = 0
        self._nodes = 0

    def run(self) -> Node | None:
        while self._loader.check_event():
            event = self._loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._stop(event, "a second document: a config is one YAML document, remove the `---`")
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._start(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
        if self._root is None or (isinstance(self._root, Scalar) and self._root.null):
            self._problems.add(Mark(self._file, 1, 1), f"the file is empty: start with `{self._begin}`")
            return None
        return self._root

    def _mark(self, event: Any) -> Mark:
        return Mark(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _stop(self, event: Any, text: str) -> None:
        self._problems.add(self._mark(event), text)
        raise _Stop

    def _count(self, event: Any, size: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values once aliases are expanded: write less")

    def _tagged(self, event: Any) -> None:
        if event.tag is not None and event.tag != "!":
            self._problems.add(self._mark(event), f"tag {quote(event.tag)} means nothing here: remove it")

    def _scalar(self, event: Any) -> None:
        self._tagged(event)
        self._count(event, 1)
        text = event.value
        if _SURROGATES.search(text):
            self._problems.add(self._mark(event), "half of a surrogate pair: write the character itself")
            text = _SURROGATES.sub("?", text)
        node = Scalar(self._mark(event), text, bool(event.implicit[0]))
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(node, 1, 1)
        self._put(event, node, 1, 1)

    def _start(self, event: Any) -> None:
        self._tagged(event)
        self._count(event, 1)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} levels deep: no key of a config needs that")
        mark = self._mark(event)
        node: Mapping | Sequence = Mapping(mark) if isinstance(event, yaml.MappingStartEvent) else Sequence(mark)
        if event.anchor:
            self._anchors.pop(event.anchor, None)
        self._stack.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self._stack.pop()
        if isinstance(done.node, Mapping):
            for merge in done.merges:
                self._merge(done.node, merge)
        if done.anchor:
            self._anchors[done.anchor] = _Anchored(done.node, done.size, done.height)
        self._put(None, done.node, done.size, done.height)

    def _alias(self, event: Any) -> None:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            self._stop(event, f"alias *{event.anchor} has no anchor &{event.anchor} complete before it")
            return
        self._count(event, anchored.size)
        if len(self._stack) + anchored.height > MAX_DEPTH:
            self._stop(event, f"nested more than {MAX_DEPTH} levels deep through this alias")
        self._put(event, anchored.node, anchored.size, anchored.height)

    def _put(self, event: Any, node: Node, size: int, height: int) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is None:
            if not isinstance(node, Scalar):
                self._problems.add(node.mark, f"{describe(node)} as a key: keys are words")
                node = Scalar(node.mark, f"({node.mark.line}:{node.mark.column})")
            # An alias as a key stands where it is used, not where its anchor is.
            top.key = Scalar(self._mark(event), node.text, node.plain) if event is not None else node
        else:
            key, top.key = top.key, None
            self._entry(top, key, node)

    def _entry(self, top: _Open, key: Scalar, value: Node) -> None:
        assert isinstance(top.node, Mapping)
        if key.plain and key.text == "<<":
            top.merges.extend(value.items if isinstance(value, Sequence) else [value])
            return
        before = top.node.entries.get(key.text)
        if before is not None:
            where = f"line {before.mark.line}"
            self._problems.add(key.mark, f"key {quote(key.text)} stands twice (first on {where}): keep one of them")
            return
        top.node.entries[key.text] = Entry(key.mark, value)

    def _merge(self, into: Mapping, merge: Node) -> None:
        if not isinstance(merge, Mapping):
            self._problems.add(merge.mark, "`<<` takes a mapping (an alias of one), or a list of them")
            return
        for key, entry in merge.entries.items():
            into.entries.setdefault(key, entry)
