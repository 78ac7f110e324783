"""Names of tensors in checkpoints and releases; older schemas may have used others.

A parameter is named by its path in the network, its component first. A change that renames a module adds to RENAMES a
pure function from the paths of one schema to those of the next; manifest.json and release.json name their schema.
"""

from collections.abc import Callable

RENAMES: tuple[Callable[[str], str], ...] = ()
"""The n-th function leads from schema n to schema n + 1."""
NEWEST = 1 + len(RENAMES)


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
