"""A checkpoint exists completely or not at all, whatever kills its writer and whatever happens to its files."""

import os
import tempfile
import time
from collections.abc import Callable
from errno import EIO, EROFS
from pathlib import Path

import pytest
import torch
from small_store import fill, flip, loop_of, names

from talkies.checkpoints.manifest import MANIFEST, read_manifest
from talkies.checkpoints.state import load_state, save_state
from talkies.checkpoints.store import LATEST, CheckpointStore, CheckpointWarning
from talkies.config import CheckpointError, StorageError
from talkies.config.plain_json import canonical_json, json_sha256


def test_a_saved_checkpoint_is_complete(store: CheckpointStore) -> None:
    assert store.latest() is None
    assert not store.folder.exists()  # looking changes nothing
    made = store.save(123, fill())
    assert made == store.folder / "step-00000123"
    assert names(store) == [LATEST, "step-00000123"]
    assert (store.folder / LATEST).read_text() == "step-00000123\n"
    assert store.latest() == made
    manifest = store.verify(made)
    assert manifest.step == 123
    assert {name: size for name, (_, size) in manifest.files.items()} == {"loop.json": 2, "shards/a.bin": 100}
    assert sorted(p.name for p in made.iterdir()) == ["loop.json", MANIFEST, "shards"]


@pytest.mark.fault("h", "clock jumps back", injected="time.time() and the files' times lie ten years back")
def test_latest_is_chosen_by_step_not_by_time(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, record_outcome: Callable[..., None]
) -> None:
    for step in (9, 10):
        store.save(step, fill())
    past, real = time.time() - 10 * 365 * 86400, time.time
    monkeypatch.setattr(time, "time", lambda: real() - 10 * 365 * 86400)
    for step in (100_000_000, 2):
        for path in store.save(step, fill()).rglob("*"):
            os.utime(path, (past, past))
        os.utime(store.path(step), (past, past))
    assert store.latest() == store.path(100_000_000)
    assert store.retain(2) == [9], "retention does not use the time, either"
    record_outcome("the newest is that of the highest step", steps_lost=0)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: flip(p / "shards" / "a.bin"), r"step-00000020/shards/a\.bin is damaged: found sha256 .* expected"),
        (lambda p: os.truncate(p / "shards" / "a.bin", 50), r"a\.bin is truncated: found 50 bytes, expected 100"),
        (lambda p: (p / "loop.json").unlink(), r"loop\.json is missing"),
        (lambda p: (p / MANIFEST).unlink(), r"step-00000020 is incomplete: it has no manifest\.json"),
        (lambda p: (p / MANIFEST).write_text("{"), r"manifest\.json is damaged"),
        (lambda p: (p / MANIFEST).write_text("[]"), r"manifest\.json is damaged"),
        (lambda p: flip(p / MANIFEST), r"manifest\.json is damaged"),
    ],
)
def test_damage_falls_back_loudly(store: CheckpointStore, harm: Callable[[Path], None], message: str) -> None:
    store.save(10, fill())
    harm(store.save(20, fill()))
    with pytest.warns(CheckpointWarning, match=message + r".*; falling back to step-00000010"):
        assert store.latest() == store.path(10)
    with pytest.raises(CheckpointError, match=message):
        store.verify(store.path(20))


def test_all_damaged_is_an_error_not_a_fresh_start(store: CheckpointStore) -> None:
    for step in (1, 2):
        flip(store.save(step, fill()) / "loop.json")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .*: .*/step-00000002/loop\.json"):
        store.latest()


@pytest.mark.fault("s8", "names that lead outside", injected="../../secret in a checkpoint's manifest")
def test_manifest_may_not_name_files_outside(
    store: CheckpointStore, tmp_path: Path, record_outcome: Callable[..., None]
) -> None:
    made = store.save(1, fill())
    (tmp_path / "secret").write_text("s")
    values = {"schema": 1, "step": 1, "files": {"../../secret": {"sha256": "0" * 64, "size": 1}}}
    text = canonical_json({**values, "sha256": json_sha256(values)})
    (made / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match="names a file outside"):
        read_manifest(made)
    record_outcome("refused")


def test_a_failing_writer_changes_nothing(store: CheckpointStore) -> None:
    store.save(1, fill())

    def broken(folder: Path) -> None:
        fill()(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(2, broken)
    assert names(store) == [LATEST, "step-00000001"]
    assert (store.folder / LATEST).read_text() == "step-00000001\n"
    assert store.save(2, fill()) == store.latest()


def test_a_complete_checkpoint_is_never_overwritten(store: CheckpointStore) -> None:
    store.save(1, fill("a"))
    with pytest.raises(CheckpointError, match="exists and is complete"):
        store.save(1, fill("b"))
    assert (store.path(1) / "shards" / "a.bin").read_text() == "a" * 100


def test_a_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(store: CheckpointStore) -> None:
    flip(store.save(1, fill("a")) / "shards" / "a.bin")
    with pytest.warns(CheckpointWarning, match=r"a\.bin is damaged.*it is replaced"):
        store.save(1, fill("b"))
    assert (store.path(1) / "shards" / "a.bin").read_text() == "b" * 100
    assert names(store) == [LATEST, "step-00000001"]


TMPDIRS = {"missing": 0o000, "unwritable": 0o555}


@pytest.mark.fault("11", "TMPDIR unwritable or missing", injected="TMPDIR=/nonexistent, or a folder that is read-only")
@pytest.mark.parametrize("kind", TMPDIRS)
def test_tmpdir_is_not_used(
    store: CheckpointStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_outcome: Callable[..., None],
    kind: str,
) -> None:
    """A whole state is written by DCP and read back."""
    place = tmp_path / "scratch"
    if kind == "unwritable":
        place.mkdir(mode=TMPDIRS[kind])
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)  # Python caches it
    assert store.latest() is None
    weights = {"w": torch.arange(6.0)}
    parts = {"model": weights, "optimizer": {}, "ema": weights, "loop": loop_of(1)}
    store.save(1, lambda folder: save_state(folder, **parts, generators={"torch": torch.get_rng_state()}))
    assert store.latest() == store.path(1)
    assert torch.equal(load_state(store.path(1), model=weights, ema=weights).model["w"], weights["w"])  # type: ignore[arg-type]
    assert not place.exists() or not list(place.iterdir())
    record_outcome("saved and read back: all is staged beside its target", steps_lost=0)


# The disk.


def test_a_full_disk_is_a_storage_error(store: CheckpointStore) -> None:
    store.save(1, fill())
    size = sum(path.stat().st_size for path in store.path(1).rglob("*") if path.is_file())

    def full(folder: Path) -> None:
        fill()(folder)
        (folder / "more").symlink_to("/dev/full")
        (folder / "more").write_text("x" * 10)

    with pytest.raises(
        StorageError, match=rf"step-00000002\.tmp: No space left on device; {size} bytes are needed, \d+ "
    ):
        store.save(2, full)
    assert names(store) == [LATEST, "step-00000001"]
    assert store.latest() == store.path(1)


def test_a_read_only_disk_is_a_storage_error_and_others_are_not(store: CheckpointStore) -> None:
    def failing(number: int) -> Callable[[Path], None]:
        def writer(folder: Path) -> None:
            raise OSError(number, os.strerror(number), str(folder))

        return writer

    with pytest.raises(StorageError, match="Read-only file system; "):
        store.save(1, failing(EROFS))
    with pytest.raises(OSError, match="Input/output error"):
        store.save(1, failing(EIO))
    assert names(store) == []


def test_a_file_with_the_name_of_a_checkpoint_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "step-00000022").write_text("not a checkpoint")
    store = CheckpointStore(tmp_path)
    assert store.steps() == []
    assert store.latest() is None
    with pytest.warns(CheckpointWarning, match="it is replaced"):
        store.save(22, fill())
    assert store.latest() == store.path(22)


def test_an_unwritable_pointer_does_not_invalidate_a_complete_checkpoint(store: CheckpointStore) -> None:
    (store.folder / LATEST).mkdir(parents=True)
    with pytest.warns(
        CheckpointWarning, match=r"step-00000005 is complete, but .*LATEST cannot be written: .*directory"
    ):
        store.save(5, fill())
    assert store.latest() == store.path(5)
    assert not [name for name in names(store) if name.endswith(".tmp")]
