"""A YAML document as values that know their line and their path, for errors that people can act on.

Scalars are read as the text that is written: a version `1.30` stays "1.30", a country `NO` stays "NO".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import yaml

from rear.documents import DocumentError, TextError, plain, quoted

MAX_DEPTH: Final = 16

_JSON_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,19})?")
_HALF: Final = re.compile("[\ud800-\udfff]")
"""Surrogates: escapes can name them, and no encoding has them."""

_NULL: Final = "tag:yaml.org,2002:null"
_KINDS_OF_NODE: Final[dict[type[yaml.Node], str]] = {
    yaml.ScalarNode: "a single value",
    yaml.SequenceNode: "a list",
    yaml.MappingNode: "a mapping",
}

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Aliases are refused: a few lines of them can stand for billions of values."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._refuse("aliases are not read; write it out, or use `defaults` where there are some")
        if self.depth == MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def _refuse(self, problem: str) -> NoReturn:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        assert isinstance(mark, yaml.Mark), "only libyaml's loader has other marks"
        raise yaml.composer.ComposerError(problem=problem, problem_mark=mark)


@dataclass(frozen=True, slots=True)
class Value:
    """One node of the document, at `where`; every reading of it raises `DocumentError` with its line."""

    path: Path
    node: yaml.Node
    where: str = ""

    @property
    def line(self) -> int:
        """The line that the value begins on, from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, message: str) -> NoReturn:
        """Refuses the value."""
        raise DocumentError(self.path, self.line, self.where, message)

    def text(self) -> str:
        """Its text: not empty, of one line, without control characters."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"is {self._kind()}; write a single value")
        text = str(self.node.value)
        if not text or self.node.tag == _NULL:
            self.fail("is empty; write a value or leave the key out")
        try:
            return plain(text)
        except TextError as error:
            self.fail(str(error))

    def verbatim(self) -> str:
        """Its text as it is, which may be empty or of many lines."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"is {self._kind()}; write a single value")
        text = "" if self.node.tag == _NULL else str(self.node.value)
        if _HALF.search(text):
            self.fail("has an escape that names half of a character; write the character itself")
        return text

    def read(self, parse: Callable[[str], T]) -> T:
        """What `parse` makes of its text."""
        try:
            return parse(self.text())
        except TextError as error:
            self.fail(str(error))

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        text = self.text()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19 and low <= int(text) <= high):
            self.fail(f"is {quoted(text)}; write a whole number from {low} to {high}")
        return int(text)

    @property
    def shown(self) -> str:
        """What it is, for an error message: its text in quotes, or what else it is."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag == _NULL:
            return self._kind()
        return quoted(str(self.node.value))

    @property
    def is_scalar(self) -> bool:
        """Whether it is a single value."""
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    def items(self) -> list[Value]:
        """The values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"is {self._kind()}; write a list")
        return [Value(self.path, node, f"{self.where}[{n}]") for n, node in enumerate(self.node.value)]

    def entries(self) -> dict[str, Value]:
        """The values of a mapping by key, in the order of the file; no key comes twice."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"is {self._kind()}; write keys and values")
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            key = Value(self.path, key_node, self.where).text()
            if key in found:
                Value(self.path, key_node, found[key].where).fail(
                    f"is given twice, first in line {found[key].line}; keep one"
                )
            where = f"{self.where}.{key}" if self.where else key
            found[key] = Value(self.path, node, where)
        return found

    def fields(self, known: Collection[str], *, required: Collection[str] = ()) -> dict[str, Value]:
        """As `entries`, refusing keys that are not `known` and asking for those that are `required`."""
        found = self.entries()
        for key, key_line in zip(found, self._key_lines(), strict=True):
            if key not in known:
                raise DocumentError(
                    self.path,
                    key_line,
                    self.where,
                    f"unknown key {quoted(key)}; known are: {', '.join(known)}",
                )
        for key in required:
            if key not in found:
                self.fail(f"has no `{key}`; add it")
        return found

    def plain_data(self) -> object:
        """The value as JSON would have it: numbers where they are written as such, all other scalars as texts."""
        if isinstance(self.node, yaml.SequenceNode):
            return [item.plain_data() for item in self.items()]
        if isinstance(self.node, yaml.MappingNode):
            return {key: value.plain_data() for key, value in self.entries().items()}
        if self.node.tag == _NULL:
            return None
        text = str(self.node.value)
        if self.node.style is None and _JSON_NUMBER.fullmatch(text):  # type: ignore[attr-defined]
            return float(text) if "." in text else int(text)
        return text

    def below(self, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Value]]:
        """This value and all below it, each with the steps that lead to it, keys and places in lists."""
        yield steps, self
        inner: Iterable[tuple[str | int, Value]] = ()
        if isinstance(self.node, yaml.SequenceNode):
            inner = enumerate(self.items())
        elif isinstance(self.node, yaml.MappingNode):
            inner = self.entries().items()
        for step, value in inner:
            yield from value.below((*steps, step))

    def at(self, steps: Iterable[str | int]) -> Value:
        """The value below this one that `steps` lead to, keys and places in lists, as far as there is one."""
        found = self
        for step in steps:
            inner: Mapping[str | int, Value]
            if isinstance(found.node, yaml.SequenceNode):
                inner = dict(enumerate(found.items()))
            elif isinstance(found.node, yaml.MappingNode):
                inner = dict(found.entries().items())
            else:
                break
            if step not in inner:
                break
            found = inner[step]
        return found

    def over(self, defaults: Value | None) -> Value:
        """This mapping with what `defaults` adds: mappings merge key by key, all else replaces.

        An explicit `null` takes a default away.
        """
        if defaults is None:
            return self
        return Value(self.path, _merged(defaults.node, self.node), self.where)

    def key_line(self, key: str) -> int:
        """The line on which a key of the mapping stands."""
        return dict(zip(self.entries(), self._key_lines(), strict=True))[key]

    def _key_lines(self) -> Iterator[int]:
        return (int(key.start_mark.line) + 1 for key, _ in self.node.value)

    def _kind(self) -> str:
        return "empty" if self.node.tag == _NULL else _KINDS_OF_NODE[type(self.node)]


def parse_document(path: Path, text: str) -> Value:
    """The one document of `text`. Raises `DocumentError` where it is not YAML, or empty."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise DocumentError(path, line, "", f"holds a character that YAML forbids: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = int(mark.line) + 1 if mark else 0
        raise DocumentError(path, line, "", f"is not valid YAML: {_reason(error)}") from error
    except (ValueError, OverflowError) as error:
        # The scanner turns escapes such as "\UFFFFFFFF" into characters without asking whether they are.
        raise DocumentError(path, 0, "", "is not valid YAML: an escape names no character") from error
    if node is None:
        raise DocumentError(path, 0, "", "is empty")
    return Value(path, node)


def _reason(error: yaml.MarkedYAMLError) -> str:
    return " ".join(" ".join(part for part in (error.context, error.problem) if part).split())


def _merged(defaults: yaml.Node, own: yaml.Node) -> yaml.Node:
    if not (isinstance(defaults, yaml.MappingNode) and isinstance(own, yaml.MappingNode)):
        return own
    below = {key.value: value for key, value in defaults.value if isinstance(key, yaml.ScalarNode)}
    entries: list[tuple[yaml.Node, yaml.Node]] = []
    named: set[str] = set()
    for key, value in own.value:
        if isinstance(key, yaml.ScalarNode):
            named.add(key.value)
            if value.tag == _NULL and value.value:
                continue
            if key.value in below:
                value = _merged(below[key.value], value)
        entries.append((key, value))
    entries.extend(
        (key, value) for key, value in defaults.value if not isinstance(key, yaml.ScalarNode) or key.value not in named
    )
    return yaml.MappingNode(own.tag, entries, own.start_mark, own.end_mark)
