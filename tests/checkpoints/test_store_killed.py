"""What a killed process leaves does not count as a checkpoint, and is swept."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_store import fill, loop_of, names

from talkies.checkpoints import state as state_module
from talkies.checkpoints import store as store_module
from talkies.checkpoints import tensors as tensors_module
from talkies.checkpoints.state import save_state
from talkies.checkpoints.store import LATEST, CheckpointStore, CheckpointWarning


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


SMALL = ("while filling", "before the manifest", "before the rename", "before the pointer")


def save_and_die(store: CheckpointStore, moment: str) -> None:
    """In a child process: save step 1, and be killed at some moment of saving step 2."""

    def writer(folder: Path) -> None:
        (folder / "loop.json").write_text("{}")
        if moment == "while filling":
            die()

    if moment != "while filling":
        store.save(1, writer)
    if moment == "after one of two shards":
        tensors_module._Writer.write_data = shard_and_die  # type: ignore[method-assign]
    if moment == "between shards and loop":
        state_module.write_tensors = die
    if moment == "before the manifest":
        store_module.write_manifest = die
    if moment == "before the rename":
        Path.rename = die  # type: ignore[assignment,method-assign]
    if moment == "before the pointer":
        store_module.write_text = die
    if moment == "while the pointer is replaced":
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            return die() if target.name == LATEST else real(self, target)  # type: ignore[func-returns-value,return-value]

        Path.replace = replace  # type: ignore[assignment,method-assign]
    store.save(2, writer if moment in SMALL else state)


def state(folder: Path) -> None:
    """Two shards, generators and the loop."""
    weights = {"w": torch.zeros(10)}
    generators = {"torch": torch.get_rng_state()}
    save_state(folder, model=weights, optimizer={}, ema=weights, loop=loop_of(2), generators=generators)


def shard_and_die(self: object, plan: object, planner: object) -> None:
    """Leave what DCP has written when one file is there and the next is not."""
    (self.fs.init_path(self.path) or self.path).joinpath("__0_0.distcp").write_bytes(b"half")  # type: ignore[attr-defined]
    die()


SHARDS = pytest.mark.fault("7", "crash during shard write", injected="SIGKILL after one of two files")
META = pytest.mark.fault("8", "crash between shards and loop.json", injected="SIGKILL between the two, or after both")
POINTER = pytest.mark.fault("9", "crash during LATEST update", injected="SIGKILL before its write, or its rename")


@pytest.mark.parametrize(
    ("moment", "newest", "torn"),
    [
        pytest.param("while filling", None, True, marks=SHARDS),
        pytest.param("after one of two shards", 1, True, marks=SHARDS),
        pytest.param("between shards and loop", 1, True, marks=META),
        pytest.param("before the manifest", 1, True, marks=META),
        pytest.param("before the rename", 1, True, marks=META),
        pytest.param("before the pointer", 2, False, marks=POINTER),
        pytest.param("while the pointer is replaced", 2, False, marks=POINTER),
    ],
)
def test_kill_9(
    store: CheckpointStore, record_outcome: Callable[..., None], moment: str, newest: int | None, torn: bool
) -> None:
    child = multiprocessing.get_context("fork").Process(target=save_and_die, args=(store, moment))
    child.start()
    child.join(200)
    assert child.exitcode == -signal.SIGKILL
    assert [name for name in names(store) if name.endswith(".tmp")] or moment == "before the pointer"
    began = time.monotonic()
    assert store.latest() == (None if newest is None else store.path(newest))
    back = time.monotonic() - began
    if newest is not None:
        assert (store.folder / LATEST).read_text() == "step-00000001\n"  # old or new, never empty
    record_outcome("the newest complete one, and LATEST old or new", back_s=back)
    if torn:
        with pytest.warns(
            CheckpointWarning, match=r"removing .*step-00000002\.tmp, left incomplete by a killed process"
        ):
            store.save(3, fill())
    elif moment == "while the pointer is replaced":
        with pytest.warns(
            CheckpointWarning, match=r"removing .*\.LATEST\.\d+\.tmp, left incomplete by a killed process"
        ):
            store.save(3, fill())
    else:
        store.save(3, fill())
    assert not [name for name in names(store) if name.endswith(".tmp")]
    assert (store.folder / LATEST).read_text() == "step-00000003\n"


def retain_and_die(store: CheckpointStore) -> None:
    """In a child process: be killed in the middle of deleting step 1."""
    real = os.unlink

    def one(*args: object, **options: object) -> None:
        real(*args, **options)  # type: ignore[arg-type]
        die()

    os.unlink = one  # type: ignore[assignment]
    store.retain(1)


def test_a_killed_deletion_leaves_no_checkpoint_and_is_swept(store: CheckpointStore) -> None:
    for step in (1, 2):
        store.save(step, fill())
    child = multiprocessing.get_context("fork").Process(target=retain_and_die, args=(store,))
    child.start()
    child.join(200)
    assert child.exitcode == -signal.SIGKILL
    assert names(store) == [LATEST, "step-00000001.old.tmp", "step-00000002"]
    assert list((store.folder / "step-00000001.old.tmp").rglob("*")), "it was killed half-way"
    again = CheckpointStore(store.folder)
    assert again.steps() == [2]
    assert again.latest() == again.path(2)
    with pytest.warns(CheckpointWarning, match=r"removing .*step-00000001\.old\.tmp, left incomplete"):
        again.sweep()
    assert names(store) == [LATEST, "step-00000002"]


def test_a_reader_does_not_sweep(store: CheckpointStore) -> None:
    store.save(1, fill())
    (store.folder / "step-00000002.tmp").mkdir()
    assert CheckpointStore(store.folder).latest() == store.path(1)
    assert (store.folder / "step-00000002.tmp").is_dir()
