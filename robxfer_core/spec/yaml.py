"""YAML 1.2 as specs are written in it: the core schema, read safely and within limits.

`ruamel.yaml` parses. Its own rules for plain scalars are wider than YAML 1.2's core schema (`1_000`, `0b11` and dates
are no text to it, `.5e1` is), so the schema's rules stand here.
"""

import re
from typing import Any

import ruamel.yaml
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import BaseResolver

from .errors import Problem, SpecError, place, show

MAX_VALUES = 100_000
"""Scalars, sequences and mappings of a document, after anchors are followed."""
MAX_DEPTH = 50
TAKES = "YAML 1.2, safe tags only"

TAG = "tag:yaml.org,2002:"
PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
"""Plain scalars that are no text, each by its first characters: YAML 1.2, section 10.3.2, and the merge key `<<`."""
RULES = {f"{TAG}{name}": re.compile(rf"(?:{pattern})\Z") for name, (pattern, _) in PLAIN.items()}
TAGS = {*RULES, f"{TAG}str", f"{TAG}seq", f"{TAG}map"}
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")


class _CoreSchema(BaseResolver):
    """The core schema whatever a `%YAML` directive says: `load` refuses those of another version."""

    def __init__(self, version: Any = None, loader: Any = None) -> None:
        super().__init__(loader)
        self._loader_version = version

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


for _name, (_, _first) in PLAIN.items():
    _CoreSchema.add_implicit_resolver_base(f"{TAG}{_name}", RULES[f"{TAG}{_name}"], _first)


class _BoundedComposer(Composer):
    """Stops at the first value too many, so that a long document is not read to its end."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # an anchor may be set anew
        self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._values += not (isinstance(parent, MappingNode) and index is None)  # no key
        if self._values > MAX_VALUES:
            raise SpecError([Problem("", f"more than {MAX_VALUES} values", f"at most {MAX_VALUES} values")])
        return super().compose_node(parent, index)


def load(data: bytes) -> Any:
    """The values of one YAML 1.2 document, or None for an empty one.

    Merge keys (`<<`) are followed. A whole number with leading zeros is refused, for readers of YAML 1.1 take it as
    octal.

    Raises:
        SpecError: The bytes are no YAML 1.2 in UTF-8, name a tag beyond the core schema or a key twice, hold an anchor
            that contains itself, or more than MAX_VALUES values or MAX_DEPTH levels once anchors are followed.
    """
    reader = ruamel.yaml.YAML(typ="safe", pure=True)
    reader.Resolver, reader.Composer, reader.max_depth = _CoreSchema, _BoundedComposer, MAX_DEPTH + 1
    try:
        node = reader.compose(data.decode("utf-8"))
        version = reader.doc_infos[-1].doc_version
        if version is not None and (version.major, version.minor) != (1, 2):
            raise SpecError([Problem("", f"a directive %YAML {version.major}.{version.minor}", TAKES)])
        if node is None:
            return None
        _check(node, (), {}, set())
        return reader.constructor.construct_document(node)
    except UnicodeDecodeError as error:
        raise SpecError([Problem("", f"bytes that are no UTF-8 ({error.reason})", "YAML in UTF-8")]) from None
    except MaxDepthExceededError:
        raise SpecError([Problem("", f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError([Problem(where, f"no YAML ({error.problem})", TAKES)]) from None
    except (YAMLError, ValueError, AssertionError) as error:  # asserted: `%YAML 1.3`, `%YAML 2.0`
        if isinstance(error, SpecError):
            raise
        raise SpecError([Problem("", f"no YAML ({error})", TAKES)]) from None


def _check(node: Node, at: tuple[str | int, ...], sizes: dict[int, int], open_: set[int]) -> int:
    """The number of values below a node once its anchors are followed; refuses what `load` does not take."""
    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in open_:
        raise SpecError([Problem(place(at), "an anchor that contains itself", "a tree")])
    if len(at) > MAX_DEPTH:
        raise SpecError([Problem(place(at[:5]), f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")])
    open_.add(id(node))
    size = 1
    _check_tag(node, at)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            where = f"line {key.start_mark.line + 1}"
            if not isinstance(key, ScalarNode):
                raise SpecError([Problem(place(at), f"a key that is no text ({where})", "keys that are text")])
            name = str(key.value)
            if name in seen:
                raise SpecError([Problem(place((*at, name)), f"the same name again ({where})", "each name once")])
            seen.add(name)
            _check_tag(key, at)
            size += _check(value, (*at, name), sizes, open_)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            size += _check(value, (*at, index), sizes, open_)
    open_.discard(id(node))
    if size > MAX_VALUES:
        got = f"anchors that expand to more than {MAX_VALUES} values"
        raise SpecError([Problem(place(at), got, f"at most {MAX_VALUES} values")])
    sizes[id(node)] = size
    return size


def _check_tag(node: Node, at: tuple[str | int, ...]) -> None:
    """Refuse a tag beyond the core schema, a scalar that its tag does not fit, and a number with leading zeros."""
    line = f"line {node.start_mark.line + 1}"
    if node.tag not in TAGS:
        raise SpecError([Problem(place(at), f"the tag {show(node.tag)} ({line})", TAKES)])
    rule = RULES.get(node.tag)
    if rule is not None and not (isinstance(node, ScalarNode) and rule.match(node.value)):
        raise SpecError([Problem(place(at), f"no {node.tag.removeprefix(TAG)} ({line})", "a value that fits its tag")])
    if node.tag == f"{TAG}int" and LEADING_ZERO.match(node.value):
        got = f"{show(node.value)[1:-1]}, a number with leading zeros, which is octal in YAML 1.1 ({line})"
        raise SpecError([Problem(place(at), got, "a number without leading zeros, or text in quotes")])
