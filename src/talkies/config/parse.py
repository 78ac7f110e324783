"""YAML text -> plain values, each with the line where it was written.

Scalars follow YAML 1.2: `1e-4` is a number, `no` and `010` are text (so that a strict type refuses them instead of
reading False and 8). There are no dates, anchors, merge keys or tags.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from talkies.config.errors import RecipeError
from talkies.config.quoting import named, shown

_TAG = "tag:yaml.org,2002:"
_BLANK = "\0 \t\r\n\x85\u2028\u2029"
_DIGITS = r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
_QUOTED = re.compile(r"(alias|anchor|tag handle) [\s\S]*")
"""Messages in which PyYAML quotes a word of the file."""
_SCALARS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", rf"^[-+]?{_DIGITS}$", "-+0123456789"),
    ("float", rf"^[-+]?(?:{_DIGITS}\.[0-9]*|\.[0-9]+|{_DIGITS}(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with only the resolvers above; it also accepts `{key: ???}`, as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute, replaced here)

    def _at_missing(self) -> bool:
        return self.prefix(3) == "???" and self.peek(3) in f"{_BLANK},]}}"

    def check_key(self) -> bool:
        """??? does not begin a complex key."""
        return not self._at_missing() and bool(super().check_key())

    def check_plain(self) -> bool:
        """??? begins a plain scalar."""
        return self._at_missing() or bool(super().check_plain())

    def scan_plain(self) -> yaml.ScalarToken:
        """??? is a complete scalar."""
        if not self._at_missing():
            return super().scan_plain()
        start = self.get_mark()
        self.forward(3)
        return yaml.ScalarToken("???", True, start, self.get_mark())


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


def parse(text: str, file: str, *, key: str | None = None) -> tuple[Any, dict[str, str]]:
    """The document in `text`, and key path -> 'file:line' of everything in it. `key`: the key that an override sets.

    Raises RecipeError, naming `file` and the line, for invalid YAML, duplicate keys, tags, aliases and numbers that
    are not finite. A file without `kind` and `extends` is not a recipe: messages do not quote its content.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise RecipeError(_not_yaml(error, file)) from error
    except RecursionError as error:
        raise RecipeError(f"recipe: {file} is nested too deeply") from error
    if node is None:
        return None, {}
    reader = _Reader(file, key, known=key is not None or _recipe(node))
    return reader.value(node, ""), reader.origins


def _recipe(node: yaml.Node) -> bool:
    """Whether a document has `kind` or `extends`, as every recipe does."""
    keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    return "kind" in keys or "extends" in keys


def _not_yaml(error: yaml.YAMLError, file: str) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    problem = _QUOTED.sub(r"\1", problem)
    return f"recipe: {place} is not YAML: {named(problem)}"


class _Reader:
    """Walks a node graph once, collecting `origins`. `known`: the document is a recipe; messages may quote it."""

    def __init__(self, file: str, key: str | None, *, known: bool) -> None:
        self.file, self.key, self.known = file, key, known
        self.origins: dict[str, str] = {}
        self._seen: set[int] = set()

    def place(self, node: yaml.Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"

    def value(self, node: yaml.Node, path: str) -> Any:
        if id(node) in self._seen:
            raise RecipeError(f"recipe: an alias at or after {self.place(node)}: write ${{key.path}} instead")
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key: self.value(child, _join(path, key)) for key, child in self._items(node, path)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            for index, child in enumerate(node.value):
                self.origins[_join(path, str(index))] = self.place(child)
            return [self.value(child, _join(path, str(index))) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise RecipeError(self._tag(node))

    def _tag(self, node: yaml.Node) -> str:
        tag = f"tag {shown(node.tag.replace(_TAG, '!!'))}" if self.known else "a tag"
        return f"recipe: {tag} ({self.place(node)}): recipes hold plain values only"

    def _named(self, path: str) -> str:
        """How a message names a key."""
        return f"`{named('.'.join(filter(None, [self.key, path])))}`" if self.known else "a key"

    def _items(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, yaml.Node]]:
        for key_node, child in node.value:
            key = self._key(key_node)
            here = _join(path, key)
            if here in self.origins:
                first = self.origins[here]
                name = f" {self._named(here)}" if self.known else ""
                raise RecipeError(f"recipe: duplicate key{name} ({self.place(key_node)}); first at {first}")
            self.origins[here] = self.place(key_node)
            yield key, child

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TAG + "str" or not node.value or "." in node.value:
            found = shown(node.value) if isinstance(node, yaml.ScalarNode) else "a collection"
            key = f"key {found}" if self.known else "a key"
            other = "" if self.known else "; with neither `kind` nor `extends` it is not a recipe"
            raise RecipeError(f"recipe: {key} ({self.place(node)}): a key is text without a dot{other}")
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        try:
            if kind in ("str", "null"):
                return text if kind == "str" else None
            if kind == "bool":
                return {"true": True, "false": False}[text.lower()]
            if kind == "int":
                return int(text)
            if kind == "float" and math.isfinite(float(text)):
                return float(text)
        except (KeyError, ValueError):
            kind = "bad"
        if kind in ("bad", "float"):
            found = f"is {shown(text)}, which is" if self.known else "is"
            raise RecipeError(
                f"recipe: {self._named(path)} {found} not a finite {node.tag[len(_TAG) :]}, at {self.place(node)}"
            )
        raise RecipeError(self._tag(node))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
