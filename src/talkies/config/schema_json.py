"""JSON Schema (draft 2020-12) of recipe files, for editors."""

from typing import Any

from pydantic import TypeAdapter

from talkies.config.migrations import FIRST, NEWEST, SCHEMA

_SCALARS = {"boolean", "integer", "number"}


def json_schema(target: Any) -> dict[str, Any]:
    """Schema of a file that decodes to `target`, alone or as an overlay.

    An overlay may omit what its `extends:` provides, so nothing is required here (decoding reports what is missing),
    and a number may be written as ${key.path}.
    """
    schema = TypeAdapter(target).json_schema()
    definitions = {name: _relaxed(part) for name, part in schema.pop("$defs", {}).items()}
    root = _relaxed(schema)
    for reference in root.get("anyOf", []):
        _extendable(definitions[reference["$ref"].rpartition("/")[2]])
    if "properties" in root:
        _extendable(root)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "talkies recipe",
        **root,
        "$defs": definitions,
    }


def _extendable(part: dict[str, Any]) -> None:
    text = "Recipe that this one changes: a path relative to this file, at most two deep."
    added: dict[str, Any] = {"extends": {"type": "string", "description": text}}
    added[SCHEMA] = {"type": "integer", "minimum": FIRST, "maximum": NEWEST, "description": f"{NEWEST} if absent."}
    part["properties"] = {**added, **part["properties"]}


def _relaxed(part: Any) -> Any:
    """`part` without `required`; unions become anyOf (their kind may come from another file), numbers may be ${...}."""
    if isinstance(part, list):
        return [_relaxed(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    relaxed = {key: _relaxed(value) for key, value in part.items() if key not in {"required", "discriminator", "oneOf"}}
    if "oneOf" in part:
        relaxed["anyOf"] = _relaxed(part["oneOf"])
    if part.get("type") in _SCALARS:
        return {"anyOf": [relaxed, {"type": "string", "pattern": r"\$\{"}]}
    return relaxed
