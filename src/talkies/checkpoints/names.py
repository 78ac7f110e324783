"""Names of tensors in checkpoints and releases, which older schemas may have written otherwise.

A parameter is known by its path in the network, its component first. Whoever renames a module adds to RENAMES a pure
function from the paths of the schema before to those of the next; manifest.json and release.json say of which schema
they are.
"""

from collections.abc import Callable

RENAMES: tuple[Callable[[str], str], ...] = ()
"""The n-th leads from schema n to n + 1."""
NEWEST = 1 + len(RENAMES)


def renamed(path: str, schema: int) -> str:
    """A parameter's path as it is now."""
    for rename in RENAMES[schema - 1 :]:
        path = rename(path)
    return path


def renamed_entry(name: str, schema: int) -> str:
    """The name of a tensor of a state: model/PATH, ema/PATH or optimizer/PATH/KEY."""
    part, _, path = name.partition("/")
    path, slash, key = path.rpartition("/") if part == "optimizer" else (path, "", "")
    return f"{part}/{renamed(path, schema)}{slash}{key}"
