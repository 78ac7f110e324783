"""A store of small checkpoints, and what harms them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.checkpoints.store import CheckpointStore


def fill(text: str = "x") -> Callable[[Path], None]:
    def writer(folder: Path) -> None:
        (folder / "shards").mkdir()
        (folder / "shards" / "a.bin").write_text(text * 100)
        (folder / "loop.json").write_text("{}")

    return writer


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
