"""Read YAML the way kubectl does, and remember on which line each value stands.

kubectl reads YAML 1.1 without timestamps and base-60 numbers: `yes` and `on` are booleans, `2024-01-01` and `22:22`
are text. Every document of a file is read up to the first syntax error, so that one error hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from slipway.problem import Path, Problem

BOOL_TAG: Final = "tag:yaml.org,2002:bool"
INT_TAG: Final = "tag:yaml.org,2002:int"
FLOAT_TAG: Final = "tag:yaml.org,2002:float"
_EXACT_FLOAT_LIMIT: Final = 2**53


@dataclass(frozen=True)
class Document:
    """One object of a manifest file."""

    source: str
    number: int
    """Position in the file, from 1."""
    value: Any
    lines: Mapping[Path, int]
    """Line of each key and list item, from 1."""
    duplicates: tuple[Problem, ...] = ()
    """Keys given twice, which kubectl refuses."""

    def line(self, path: Path) -> int:
        """Line of the value, or of the innermost thing around it that is in the file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


class ManifestSyntaxError(Exception):
    """The text is no YAML. Documents before the error were given out already."""

    def __init__(self, text: str, line: int, column: int) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of kubectl's YAML library."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (BOOL_TAG, r"^(y|Y|n|N|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", None),
    (INT_TAG, r"^[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$", list("-+0123456789")),
    (FLOAT_TAG, r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    (FLOAT_TAG, r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", list("-+.")),
    ("tag:yaml.org,2002:merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first or list("yYnNtTfFoO"))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    if re.fullmatch(r"[-+]?0[0-7]+", text):
        return int(text, 8)
    return int(text, 0)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    """A whole number stays one: `1e3` is 1000 once kubectl has turned it into JSON."""
    number: float = loader.construct_yaml_float(node)
    return int(number) if abs(number) < _EXACT_FLOAT_LIMIT and number.is_integer() else number


_Loader.add_constructor(INT_TAG, _construct_int)
_Loader.add_constructor(FLOAT_TAG, _construct_float)


def is_plain_text(text: str) -> bool:
    """Whether kubectl reads the text as a string when it stands without quotes."""
    tag: str = _Loader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return tag == "tag:yaml.org,2002:str"


def read_documents(source: str, text: str) -> Iterator[Document]:
    """Documents in order, empty ones left out, the items of a v1 List one by one.

    Raises:
        ManifestSyntaxError: where the text stops being YAML.
    """
    try:
        loader = _Loader(text)
        number = 0
        while loader.check_node():
            number += 1
            node = loader.get_node()
            if node is None:
                break
            document = _construct(loader, source, number, node)
            if document.value is not None:
                yield from _expand_list(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        context = f", {error.context}" if error.context and error.context_mark else ""
        raise ManifestSyntaxError(f"{error.problem}{context}", line, column) from error
    except RecursionError as error:
        raise ManifestSyntaxError("lists or objects are nested too deeply", 1, 1) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position] if isinstance(error.position, int) else ""
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ManifestSyntaxError(f"the character {error.character!r} is not allowed in YAML", line, column) from error


@dataclass
class _Construction:
    """Values of one document on their way from nodes to Python."""

    loader: _Loader
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[Problem] = field(default_factory=list)
    open_nodes: set[int] = field(default_factory=set)
    """Nodes being built; an alias to one of them would never end."""

    def build(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.loader.construct_object(node)
        if id(node) in self.open_nodes:
            raise yaml.constructor.ConstructorError(None, None, "an alias contains itself", node.start_mark)
        self.open_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            value: Any = self._build_mapping(node, path)
        else:
            value = self._build_list(node, path)
        self.open_nodes.discard(id(node))
        return value

    def _build_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        own = {id(key) for key, _ in node.value}
        self.loader.flatten_mapping(node)
        given: dict[str, Any] = {}
        own_keys: set[str] = set()
        for key_node, value_node in node.value:
            key = self._key(key_node)
            is_own = id(key_node) in own
            if is_own and key in own_keys:
                self.duplicates.append(
                    Problem(
                        (*path, key), f"given twice, first on line {self.lines[*path, key]}. Remove one of the two."
                    )
                )
            if is_own:
                own_keys.add(key)
            self.lines[*path, key] = key_node.start_mark.line + 1
            given[key] = self.build(value_node, (*path, key))
        return given

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", node.start_mark)
        key = self.loader.construct_object(node)
        if isinstance(key, bool):
            return "true" if key else "false"
        return "null" if key is None else str(key)

    def _build_list(self, node: yaml.Node, path: Path) -> list[Any]:
        items = []
        for position, item in enumerate(node.value):
            self.lines[*path, position] = item.start_mark.line + 1
            items.append(self.build(item, (*path, position)))
        return items


def _construct(loader: _Loader, source: str, number: int, node: yaml.Node) -> Document:
    construction = _Construction(loader, lines={(): node.start_mark.line + 1})
    value = construction.build(node, ())
    return Document(source, number, value, construction.lines, tuple(construction.duplicates))


def _expand_list(document: Document) -> Iterator[Document]:
    value = document.value
    if not (isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list)):
        yield document
        return
    for position, item in enumerate(value["items"]):
        prefix: Path = ("items", position)
        yield Document(
            document.source,
            document.number,
            item,
            {path[2:]: line for path, line in document.lines.items() if path[:2] == prefix},
            tuple(Problem(found.path[2:], found.text) for found in document.duplicates if found.path[:2] == prefix),
        )
