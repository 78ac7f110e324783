"""Several processes hash one checkpoint: each file once, and all get the same answer."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_store import flip

from talkies.checkpoints import manifest as manifest_module
from talkies.checkpoints.manifest import file_table, verify, write_manifest
from talkies.checkpoints.store import CheckpointStore, CheckpointWarning
from talkies.config import CheckpointError


class Share:
    """One of `count` processes; here they are threads that wait for each other."""

    def __init__(self, rank: int, count: int, barrier: threading.Barrier, box: dict[int, object]) -> None:
        self.place, self.main, self._barrier, self._box = (rank, count), rank == 0, barrier, box

    def gather(self, value: object) -> list[Any]:
        self._barrier.wait(200)
        self._box[self.place[0]] = value
        self._barrier.wait(200)
        return [self._box[rank] for rank in range(self.place[1])]

    def agree(self, work: Callable[..., None] | None, *args: Any) -> None:
        failed: list[Exception] = []
        try:
            if work is not None:
                work(*args)
        except CheckpointError as error:
            failed.append(error)
        for error in [e for found in self.gather(failed) for e in found]:
            raise error


def collective(count: int, work: Callable[[Share], object]) -> list[object]:
    """work(share) in every one of `count` processes: what they return or raise."""
    barrier, box = threading.Barrier(count), {}

    def one(rank: int) -> object:
        try:
            return work(Share(rank, count, barrier, box))
        except CheckpointError as error:
            return str(error)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def wide(folder: Path) -> None:
    for name in range(6):
        (folder / f"{name}.bin").write_bytes(bytes([name]) * (1000 + 100 * name))


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_the_hashing_is_shared_and_all_find_the_same_damage(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for step in (1, 2, 3):
        store.save(step, wide)
    hashed: list[str] = []
    real = manifest_module.damage

    def counted(path: Path, **known: Any) -> str | None:
        hashed.append(path.relative_to(store.folder).as_posix())
        return real(path, **known)

    monkeypatch.setattr(manifest_module, "damage", counted)
    assert collective(count, store.latest) == [store.path(3)] * count
    assert sorted(hashed) == [f"step-00000003/{name}.bin" for name in range(6)], "each file once, by one of them"
    for name in ("4.bin", "1.bin"):
        flip(store.path(3) / name)
    for name in ("0.bin", "5.bin"):
        flip(store.path(2) / name)
    with pytest.warns(CheckpointWarning) as warned:
        assert collective(count, store.latest) == [store.path(1)] * count
    assert [re.search(r"step-\d+/\d\.bin", str(w.message))[0] for w in warned] == [  # type: ignore[index]
        "step-00000003/1.bin",
        "step-00000002/0.bin",
    ], "the first in the manifest, whichever process found it, and reported once"
    flip(store.path(1) / "2.bin")
    answers = collective(count, store.latest)
    assert len(set(answers)) == 1
    assert "none of the 3 checkpoints" in str(answers[0])
    assert "step-00000003/1.bin is damaged" in str(answers[0])


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_a_manifest_is_the_same_however_many_ranks_hash_it(tmp_path: Path, ranks: int) -> None:
    """It is complete even if one of them did not see all files yet."""
    for name in ("a", "b/c", "d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name * 9)
    shares = [file_table(tmp_path, share=(rank, ranks)) for rank in range(ranks)]
    found = {name: entry for share in shares for name, entry in share.items()}
    assert found == file_table(tmp_path)
    assert sum(map(len, shares)) == 3
    found.pop("b/c")
    write_manifest(tmp_path, 7, found)
    assert verify(tmp_path).files.keys() == {"a", "b/c", "d"}
