"""A checkpoint exists completely or not at all, whatever kills its writer and whatever happens to its files."""

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable
from errno import EIO, EROFS
from pathlib import Path

import pytest

from talkies.checkpoints import manifest as manifest_module
from talkies.checkpoints import store as store_module
from talkies.checkpoints.manifest import MANIFEST, file_table, read_manifest, verify, write_manifest
from talkies.checkpoints.store import LATEST, CheckpointStore, CheckpointWarning
from talkies.config import CheckpointError, RecipeError, StorageError
from talkies.data.durable import canonical_json


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


def test_latest_goes_by_step_not_by_time(store: CheckpointStore) -> None:
    for step in (9, 10, 100_000_000, 2):
        store.save(step, fill())
    os.utime(store.path(10), (10**10, 10**10))
    assert store.latest() == store.path(100_000_000)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: flip(p / "shards" / "a.bin"), r"step-00000020/shards/a\.bin is damaged: found sha256 .* expected"),
        (lambda p: os.truncate(p / "shards" / "a.bin", 50), r"a\.bin is truncated: found 50 bytes, expected 100"),
        (lambda p: (p / "loop.json").unlink(), r"loop\.json is missing"),
        (lambda p: (p / MANIFEST).unlink(), r"step-00000020 is incomplete: cannot read manifest\.json"),
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
def test_manifest_may_not_name_files_outside(store: CheckpointStore, tmp_path: Path, told: Callable[..., None]) -> None:
    made = store.save(1, fill())
    (tmp_path / "secret").write_text("s")
    values = {"schema": 1, "step": 1, "files": {"../../secret": {"sha256": "0", "size": 1}}}
    text = canonical_json({**values, "sha256": manifest_module._digest(values)})
    (made / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match="names a file outside"):
        read_manifest(made)
    told("refused")


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


def test_a_damaged_one_is_replaced_when_its_step_comes_again(store: CheckpointStore) -> None:
    flip(store.save(1, fill("a")) / "shards" / "a.bin")
    with pytest.warns(CheckpointWarning, match=r"a\.bin is damaged.*it is replaced"):
        store.save(1, fill("b"))
    assert (store.path(1) / "shards" / "a.bin").read_text() == "b" * 100
    assert names(store) == [LATEST, "step-00000001"]


def test_tmpdir_is_not_used(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    assert store.latest() is None
    store.save(1, fill())
    assert store.latest() == store.path(1)


# What a killed process leaves.


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def save_and_die(store: CheckpointStore, moment: str) -> None:
    """In a child process: save step 1, and be killed at some moment of saving step 2."""

    def writer(folder: Path) -> None:
        (folder / "loop.json").write_text("{}")
        if moment == "while filling":
            die()

    if moment != "while filling":
        store.save(1, writer)
    if moment == "before the manifest":
        store_module.write_manifest = die
    if moment == "before the rename":
        Path.rename = die  # type: ignore[assignment,method-assign]
    if moment == "before the pointer":
        store_module.write_text = die
    store.save(2, writer)


@pytest.mark.parametrize(
    ("moment", "newest", "torn"),
    [
        ("while filling", None, True),
        ("before the manifest", 1, True),
        ("before the rename", 1, True),
        ("before the pointer", 2, False),
    ],
)
def test_kill_9(store: CheckpointStore, moment: str, newest: int | None, torn: bool) -> None:
    child = multiprocessing.get_context("fork").Process(target=save_and_die, args=(store, moment))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert store.latest() == (None if newest is None else store.path(newest))
    if newest is not None:
        assert (store.folder / LATEST).read_text() == "step-00000001\n"  # old or new, never empty
    if torn:
        with pytest.warns(CheckpointWarning, match=r"removing .*step-00000002\.tmp, torn by a killed process"):
            store.save(3, fill())
    else:
        store.save(3, fill())
    assert not [name for name in names(store) if name.endswith(".tmp")]
    assert (store.folder / LATEST).read_text() == "step-00000003\n"


def test_a_reader_does_not_sweep(store: CheckpointStore) -> None:
    store.save(1, fill())
    (store.folder / "step-00000002.tmp").mkdir()
    assert CheckpointStore(store.folder).latest() == store.path(1)
    assert (store.folder / "step-00000002.tmp").is_dir()


# Retention.


def kept(store: CheckpointStore) -> list[int]:
    return store.steps()


def test_retain_keeps_the_newest(store: CheckpointStore) -> None:
    for step in (5, 10, 15, 20):
        store.save(step, fill())
    assert store.retain(2) == [5, 10]
    assert kept(store) == [15, 20]
    assert names(store) == [LATEST, "step-00000015", "step-00000020"]
    assert store.retain(2) == []


@pytest.mark.parametrize("protect", [[5, 99], lambda step: step == 5])
def test_retain_keeps_the_protected(store: CheckpointStore, protect: object) -> None:
    for step in (5, 10, 15):
        store.save(step, fill())
    assert store.retain(1, protect) == [10]  # type: ignore[arg-type]
    assert kept(store) == [5, 15]


def test_retain_does_not_count_damaged_ones(store: CheckpointStore) -> None:
    for step in (5, 10, 20):
        store.save(step, fill())
    flip(store.path(20) / "loop.json")
    again = CheckpointStore(store.folder)
    with pytest.warns(CheckpointWarning, match="falling back to step-00000010"):
        again.latest()
    assert again.retain(1) == [5]
    again.save(15, fill())
    assert again.retain(1) == [10]
    assert kept(again) == [15, 20]
    with pytest.warns(CheckpointWarning, match="it is replaced"):
        again.save(20, fill())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.latest() == again.path(20)
    assert again.retain(1) == [15]


def test_retain_never_deletes_what_was_just_saved(store: CheckpointStore) -> None:
    store.save(20, fill())
    flip(store.path(20) / "loop.json")
    again = CheckpointStore(store.folder)
    again.save(10, fill())
    assert again.retain(1) == []
    assert 10 in kept(again)


def test_retain_wants_at_least_one(store: CheckpointStore) -> None:
    store.save(1, fill())
    with pytest.raises(RecipeError, match=r"`steps\.keep` is 0"):
        store.retain(0)
    assert kept(store) == [1]


# Going back.


@pytest.mark.parametrize(("after", "left"), [(20, [5, 10, 20]), (19, [5, 10]), (5, [5]), (0, [])])
def test_drop_deletes_what_is_later(store: CheckpointStore, after: int, left: list[int]) -> None:
    for step in (5, 10, 20):
        store.save(step, fill("old"))
    assert store.drop(after) == [step for step in (5, 10, 20) if step not in left]
    assert kept(store) == left
    pointer = store.folder / LATEST
    assert (pointer.read_text() == f"{store.path(left[-1]).name}\n") if left else not pointer.exists()
    if after < 20:
        store.save(20, fill("new"))  # it comes again
        assert store.retain(1) == left
    assert store.latest() == store.path(20)


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


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_a_manifest_is_the_same_however_many_ranks_hash_it(tmp_path: Path, ranks: int) -> None:
    """And complete where one of them did not see all files yet."""
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
