"""Names of tensors in checkpoints and releases; older schemas may have used others.

A parameter is named by its path in the network, its component first. A change that renames a module adds to RENAMES a
pure function from the paths of one schema to those of the next; manifest.json and release.json name that schema in
`names_schema` (older ones are of the first), beside the `schema` of the record itself.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

RENAMES: tuple[Callable[[str], str], ...] = ()
"""The n-th function leads from schema n to schema n + 1."""


def newest() -> int:
    """The schema of the names that this version writes."""
    return 1 + len(RENAMES)


def check_known(schema: int) -> int:
    """ValueError if the names of a schema cannot be read."""
    if not 1 <= schema <= newest():
        raise ValueError(f"a schema of tensor names that this version reads (1 to {newest()})")
    return schema


NamesSchema = Annotated[int, AfterValidator(check_known)]


def renamed(path: str, schema: int) -> str:
    """The current path of a parameter that has `path` in `schema`."""
    for rename in RENAMES[schema - 1 :]:
        path = rename(path)
    return path


def renamed_entry(name: str, schema: int) -> str:
    """The current name of a tensor of a state: model/PATH, ema/PATH or optimizer/PATH/KEY."""
    part, _, path = name.partition("/")
    path, slash, key = path.rpartition("/") if part == "optimizer" else (path, "", "")
    return f"{part}/{renamed(path, schema)}{slash}{key}"
