"""A store of small checkpoints, and how to damage them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talkies.checkpoints.store import CheckpointStore

DATA = {"consumed": 28, "passed": [[4, 8]], "quarantined": ["c1"], "clips": 12, "fingerprint": "ab", "seed": 1}


def loop_of(step: int = 7) -> dict[str, Any]:
    """The loop of a run, with additional keys of another version."""
    guard = {"good": {"0": [[0.5, 1.5]]}, "skipped": [{"step": 2, "kind": "spike", "what": "x"}]}
    loop = {"step": step, "recipe": None, "ema_updates": 4, "data": DATA, "guard": guard}
    return {**loop, "loss": 0.1 + 0.2, "groups": [{"lr": 1e-5}]}


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
