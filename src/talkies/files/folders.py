"""Folders that exist completely or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from talkies.files.durable import fsync_path, fsync_tree


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which it replaces when the block ends without an error.

    A killed process leaves hidden folders (.NAME.new, .NAME.old), which the next call removes.
    """
    work, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for stale in (work, old):
        if stale.exists():
            shutil.rmtree(stale)
    work.mkdir(parents=True)
    try:
        yield work
        fsync_tree(work)
        swap(work, folder, old)
    finally:
        for left in (work, old):
            shutil.rmtree(left, ignore_errors=True)


def swap(new: Path, folder: Path, old: Path) -> None:
    """Replace `folder` by the finished `new`; the previous `folder` is renamed to `old`, then deleted."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    fsync_path(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
