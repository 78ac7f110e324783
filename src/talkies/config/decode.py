"""Plain values -> a frozen recipe, strictly; every error names key path, place, value and what is allowed."""

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from talkies.config.errors import RecipeError
from talkies.config.forbidden_values import refuse_unfit
from talkies.config.keys import KEY, choices, known_paths, path_of, variants
from talkies.config.older import hint_of
from talkies.config.quoting import WIDTH, listed, named, shown
from talkies.config.source import LoadedRecipe

T = TypeVar("T")
MAX_NAMED = 5
"""How many keys are named after the first error; the others are counted."""
_MAPPING = "a mapping of keys"
_KINDS = {
    "bool_type": "true or false",
    "dataclass_type": _MAPPING,
    "dict_type": _MAPPING,
    "float_type": "a number",
    "int_type": "an integer",
    "model_attributes_type": _MAPPING,
    "string_type": "text",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_UNKNOWN = "unexpected_keyword_argument"


@overload
def decode(target: type[T], source: LoadedRecipe) -> T: ...
@overload
def decode(target: Any, source: LoadedRecipe) -> Any: ...
def decode(target: Any, source: LoadedRecipe) -> Any:
    """`source` as a value of type `target`, without any coercion.

    Raises one RecipeError for all errors: the first in full, then the number and keys of the others. Unknown keys come
    first, because a missing key is often a misspelt one; values that no recipe may hold come before all.
    """
    refuse_unfit(source)
    return _decoded(target, source)


def decode_values(target: type[T], values: dict[str, Any], *, where: str) -> T:
    """The plain `values` of `where` (a file that talkies wrote) as a value of type `target`."""
    decoded: T = _decoded(target, LoadedRecipe(file=Path(where), values=values, origins={}))
    return decoded


def _decoded(target: Any, source: LoadedRecipe) -> Any:
    try:
        return _validated(target, source.values)
    except ValidationError as error:
        details = error.errors(include_url=False)
    ordered = sorted(details, key=lambda detail: detail["type"] != _UNKNOWN and not _of_key(detail))
    message = _Message(target, source)
    first, *others = message.by_path(ordered).items()
    keys = ", ".join(f"`{named(path)}`" for path, _ in others[:MAX_NAMED]) + (
        ", ..." if len(others) > MAX_NAMED else ""
    )
    more = f"\n... and {len(others)} more: {keys}" if others else ""
    raise RecipeError(f"recipe: {message.line(first[1])}{more}")


def _validated(target: Any, values: Mapping[str, Any]) -> Any:
    return _adapter(target).validate_json(json.dumps(values))


@cache
def _adapter(target: Any) -> TypeAdapter[Any]:
    return TypeAdapter(target)


class _Message:
    """Messages for pydantic's errors about one source."""

    def __init__(self, target: Any, source: LoadedRecipe) -> None:
        self.target, self.source = target, source

    def path(self, detail: ErrorDetails) -> str:
        """The key path of an error; if a union has no usable kind, that of its `kind`."""
        names, _ = path_of(self.target, self.source.values, detail["loc"])
        return ".".join([*names, "kind"] if detail["type"].startswith("union_tag") else names)

    def by_path(self, details: Sequence[ErrorDetails]) -> dict[str, list[ErrorDetails]]:
        """The errors by key path; a union without tags has one for each of its members."""
        errors: dict[str, list[ErrorDetails]] = {}
        for detail in details:
            errors.setdefault(self.path(detail), []).append(detail)
        return errors

    def line(self, details: Sequence[ErrorDetails]) -> str:
        """What is wrong with one key, where, and what is allowed or nearest."""
        detail = details[0]
        path, error = self.path(detail), detail["type"]
        _, kind = path_of(self.target, self.source.values, detail["loc"])
        if error == _UNKNOWN:
            return self._unknown(path)
        if error in ("missing", "union_tag_not_found"):
            allowed = f"; one of {', '.join(variants(kind))}" if variants(kind) else ""
            return f"missing key `{named(path)}`{self._place(path)}{allowed}"
        if _of_key(detail):
            return self._unfit_key(path, kind, detail)
        return self._unfit(path, kind, details)

    def _unfit(self, path: str, kind: Any, details: Sequence[ErrorDetails]) -> str:
        """The message for a value that is not of the type `kind`."""
        detail = details[0]
        error, value = detail["type"], detail["input"]
        if len(details) > 1:
            allowed = " or ".join(needed(other).replace(" or ", ", ") for other in details)
            return f"`{named(path)}` is {shown(value)}{self._place(path)}; needed is {allowed}"
        if error == "union_tag_invalid":
            tag = value["kind"]
            older = self._older(path, tag)
            allowed = f".{older}" if older else one_of(tag, variants(kind))
            return f"unknown kind {shown(tag)} at `{named(path)}`{self._place(path)}{allowed}"
        if error == "literal_error":
            return f"`{named(path)}` is {shown(value)}{self._place(path)}{one_of(value, choices(kind))}"
        return f"`{named(path)}` must be {_allowed(detail, kind)}, got {shown(value)}{self._place(path, ' at ')}"

    def _unfit_key(self, path: str, kind: Any, detail: ErrorDetails) -> str:
        """The message for the name of an entry that the keys of its mapping, of type `kind`, exclude."""
        if known := choices(kind):
            return f"unknown key `{named(path)}`{self._place(path)}{one_of(detail['input'], known)}"
        return f"key `{named(path)}`{self._place(path)} must be {needed(detail)}"

    def _place(self, path: str, form: str = "") -> str:
        """Where `path` is written; for a missing key, where the mapping that should hold it begins."""
        while path and path not in self.source.origins:
            path = path.rpartition(".")[0]
        place = self.source.origins.get(path, str(self.source.file))
        return f"{form}{place}" if form else f" ({place})"

    def _unknown(self, path: str) -> str:
        above, _, name = path.rpartition(".")
        known = list(known_paths(self.target, self.source.values))
        beside = [key for key in known if key.rpartition(".")[0] == above]
        names = [key.rpartition(".")[2] for key in beside]
        near = [f"{above}.{match}".lstrip(".") for match in difflib.get_close_matches(name[:WIDTH], names, 1)]
        near = near or [key for key in known if key.rpartition(".")[2] == name][:1]
        hint = f" Did you mean `{named(near[0])}`?" if near else f" Known keys there: {listed(names)}" if names else ""
        return f"unknown key `{named(path)}`{self._place(path)}.{self._older(path) or hint}"

    def _older(self, path: str, value: Any = None) -> str:
        """What to do if the key, or its `value`, is one of an older schema, which the recipe does not state."""

        def fits(values: Mapping[str, Any]) -> bool:
            try:
                _validated(self.target, values)
            except ValidationError:
                return False
            return True

        stated = not self.source.extends and self.source.origins.get(path) != "override"
        return hint_of(path, value, self.source.values, fits if stated else None)


def _of_key(detail: ErrorDetails) -> bool:
    """Whether an error is about the name of a mapping's entry."""
    return detail["loc"][-1:] == (KEY,) and detail["type"] != _UNKNOWN


def _allowed(detail: ErrorDetails, kind: Any) -> str:
    """What is allowed instead of a value of a key of type `kind`."""
    if not variants(kind):
        return needed(detail)
    one = "one of " if len(variants(kind)) > 1 else ""
    mapping = f"a mapping whose `kind` is {one}{', '.join(variants(kind))}"
    return mapping if _KINDS.get(detail["type"]) == _MAPPING else f"{needed(detail)}, or {mapping}"


def needed(detail: ErrorDetails) -> str:
    """What is allowed instead of a value, as the words after "must be"."""
    error = detail["type"]
    if error in _BOUNDS:
        key, sign = _BOUNDS[error]
        bound = detail.get("ctx", {})[key]
        return f"{sign} {bound}" if isinstance(bound, int) else f"{sign} {bound:g}"
    if error == "string_pattern_mismatch":
        return f"of the form {detail.get('ctx', {})['pattern']}"
    if error == "too_short":
        return f"a list of at least {detail.get('ctx', {})['min_length']}"
    if error == "string_too_long":
        return f"text of at most {detail.get('ctx', {})['max_length']} characters"
    return _KINDS.get(error) or detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")


def one_of(value: Any, allowed: Any) -> str:
    """The end of a message about a `value` that must be one of those `allowed`, with the nearest."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(value)[:WIDTH], names, 1)
    return f"; one of {', '.join(names)}" + (f". Did you mean {near[0]!r}?" if near else "")
