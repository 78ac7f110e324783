"""Folders that are there whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from talkies.files.durable import sync, sync_tree


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`; what is made there takes its place when the block ends well.

    A killed process leaves hidden folders (.NAME.new, .NAME.old) that the next one removes.
    """
    work, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for stale in (work, old):
        if stale.exists():
            shutil.rmtree(stale)
    work.mkdir(parents=True)
    try:
        yield work
        sync_tree(work)
        swap(work, folder, old)
    finally:
        for left in (work, old):
            shutil.rmtree(left, ignore_errors=True)


def swap(made: Path, folder: Path, old: Path) -> None:
    """Put the finished `made` in the place of `folder`, which is `old` for a moment and then gone."""
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
