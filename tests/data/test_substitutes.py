"""Bad clips are replaced, by the same substitutes in every process, and all other samples are unchanged."""

import errno
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged import flip, garbage

from talkies.config import DataError
from talkies.data.clip import Clip, Header
from talkies.data.module import ClipsData
from talkies.data.shards import ShardSet, ShardWriter
from talkies.data.stored import StoredTensors
from talkies.data.substitutes import (
    FAR,
    UnreadableError,
    allowed,
    open_to_train,
    read_or_substitute,
    substitutes,
)
from talkies.streams.batch import Batch, Replaced

pytestmark = [pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")]
ALL = ("video", "audio", "image")
BOTH = ("video", "audio")
RecordOutcome = Callable[..., None]


def seen(data: ClipsData, batches: int) -> list[Batch]:
    return list(itertools.islice(data.train_dataloader(), batches))


def samples(batches: list[Batch]) -> list[tuple[str, int]]:
    return [sample for batch in batches for sample in zip(batch.ids, batch.visits, strict=True)]


def replaced(batches: list[Batch]) -> list[Replaced]:
    return [one for batch in batches for one in batch.replaced]


@pytest.mark.fault(
    "14", "corrupted data sample", injected="the record overwritten by garbage, before and after opening"
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_only_the_bad_clip_is_replaced_and_only_by_sound_ones(
    build: Callable[..., Path], when: str, record_outcome: RecordOutcome
) -> None:
    folder = build(10)
    expected = seen(ClipsData(ShardSet.open(folder), seed=3, global_batch=5), 6)
    shards = ShardSet.open(folder)
    shards.read(6)  # its file is open now
    if when == "before":
        shards = ShardSet(folder, shards.index)
    garbage(folder, 6)
    began = time.perf_counter()
    found = seen(ClipsData(shards, seed=3, global_batch=5), 6)
    took = time.perf_counter() - began
    before, after = samples(expected), samples(found)
    other = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [a[0] for a, _ in other] == ["clip-6"] * 3, "once per pass over the ten clips"
    assert all(b[0] != "clip-6" and b[1] >= FAR for _, b in other)
    assert len({b for _, b in other}) == 3
    assert [(one.id, one.shard) for one in replaced(found)] == [("clip-6", "shard-00001.safetensors")] * 3
    assert [one.substitute for one in replaced(found)] == [b[0] for _, b in other]
    assert "latent.audio of clip 'clip-6'" in replaced(found)[0].reason
    assert "is damaged: found crc32" in replaced(found)[0].reason
    for a, b in zip(expected, found, strict=True):
        for row in range(5):
            if a.ids[row] == b.ids[row]:
                assert all(torch.equal(a.streams[m].latent[row], b.streams[m].latent[row]) for m in ALL)
    record_outcome(
        "replaced alone, each time by an undamaged clip; the other 27 samples unchanged", steps_lost=0, back_s=took
    )


@pytest.mark.fault("14", "corrupted data sample", injected="the same, read by other workers, ranks and a resumed run")
def test_the_same_substitutes_for_any_workers_ranks_and_after_a_resume(
    build: Callable[..., Path], record_outcome: RecordOutcome
) -> None:
    folder = build(10)
    for clip in (1, 6, 7):
        garbage(folder, clip)
    shards = ShardSet.open(folder, verify=False)
    alone = seen(ClipsData(shards, seed=3, global_batch=6), 6)
    assert len(replaced(alone)) >= 9
    for workers in (1, 2):
        assert samples(seen(ClipsData(shards, seed=3, global_batch=6, workers=workers), 6)) == samples(alone)
    for world in (2, 3):
        ranks = [ClipsData(shards, seed=3, global_batch=6, rank=rank, data_ranks=world) for rank in range(world)]
        parts = [seen(data, 6) for data in ranks]
        merged = [sample for group in zip(*map(samples, parts), strict=True) for sample in group]
        assert merged == samples(alone)
        assert {one for part in parts for one in replaced(part)} == set(replaced(alone))
    resumed = ClipsData(ShardSet.open(folder, verify=False), seed=3, global_batch=6, workers=2)
    resumed.load_state_dict({**resumed.state_dict(), "consumed": 18})
    assert samples(seen(resumed, 3)) == samples(alone[3:])
    record_outcome("the same substitutes for 0 to 2 workers, 1 to 3 ranks and a resumed run", steps_lost=0)


def test_another_seed_or_visit_draws_other_substitutes_and_never_the_clip_itself() -> None:
    drawn = [
        tuple(itertools.islice(substitutes(50, seed, f"clip-{i}", i, visit), 20))
        for seed in (0, 1)
        for i in (0, 49)
        for visit in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)
    for number, some in enumerate(drawn):
        assert all(0 <= clip < 50 and clip != (0, 49)[number // 2 % 2] for clip, _ in some)
        assert all(FAR <= visit < 2**63 for _, visit in some)
    many = [clip for clip, _ in itertools.islice(substitutes(5, 0, "x", 2, 0), 4000)]
    assert all(800 < many.count(clip) < 1200 for clip in (0, 1, 3, 4)), "each as often as the others"


def test_the_order_of_substitutes_is_pinned() -> None:
    assert list(itertools.islice(substitutes(100, 7, "clip-3", 3, 2), 2)) == [
        (84, 4421441446125617640),
        (44, 3823054274144040437),
    ]  # a resumed run must draw the same


def test_a_file_that_was_replaced_by_a_sound_one_is_opened_again(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = build()
    shards = ShardSet.open(folder)
    expected = shards.read(1)
    path = folder / "shard-00000.safetensors"
    shutil.copy(path, tmp_path / "sound")
    os.truncate(path, 100)  # the file that is still open
    (tmp_path / "sound").replace(path)
    clip, visit, bad = read_or_substitute(shards, 1, 0, BOTH, seed=0)
    assert (clip.id, visit, bad) == ("clip-1", 0, None)
    assert torch.equal(clip.streams["video"].values, expected.streams["video"].values)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int) -> None:
    """Reading from the first shard fails this many times."""
    read, left = StoredTensors.read, [times]

    def broken(self: StoredTensors, key: str) -> torch.Tensor:
        if left[0] and self.path.name == "shard-00000.safetensors":
            left[0] -= 1
            raise error
        return read(self, key)

    monkeypatch.setattr(StoredTensors, "read", broken)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_an_error_of_the_disk_is_tried_again_once(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    failing(monkeypatch, OSError(number, os.strerror(number)), 1)
    assert read_or_substitute(shards, 1, 0, BOTH, seed=0)[2] is None
    failing(monkeypatch, OSError(number, os.strerror(number)), 2)
    bad = read_or_substitute(shards, 1, 0, BOTH, seed=0)[2]
    assert bad is not None
    assert f"cannot read {shards.folder}/shard-00000.safetensors: {os.strerror(number)}" in bad.reason


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), MemoryError(), RuntimeError("x"), OSError(errno.EMFILE, "too many")]
)
def test_errors_that_are_not_the_clip_s_are_not_swallowed(
    shards: ShardSet, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error, 99)
    with pytest.raises(type(error)) as caught:
        read_or_substitute(shards, 1, 0, BOTH, seed=0)
    assert caught.value is error


def test_a_clip_with_values_that_are_not_finite_is_replaced(
    tmp_path: Path, make_clip: Callable[..., Clip], header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older version could write: its writer did not look at the texts."""
    monkeypatch.setattr("talkies.data.writer._check", lambda *_: None)
    clip = make_clip(3)
    clip.texts["text"].features[1, 2] = float("nan")
    with ShardWriter(tmp_path / "s", header, 4) as writer:
        for number in range(6):
            writer.add(clip if number == 3 else make_clip(number))
    bad = read_or_substitute(open_to_train(tmp_path / "s", BOTH, share=0), 3, 0, BOTH, seed=0)[2]
    assert bad is not None
    assert "text.text of clip 'clip-3'" in bad.reason
    assert "not finite" in bad.reason


def test_what_a_phase_does_not_read_does_not_matter(build: Callable[..., Path]) -> None:
    folder = build()
    garbage(folder, 2, tensor="latent.video")
    garbage(folder, 3, tensor="latent.image")
    shards = ShardSet.open(folder, verify=False)
    assert [read_or_substitute(shards, i, 0, ["audio"], seed=0)[2] for i in range(10)] == [None] * 10
    for streams, bad in ((BOTH, ["clip-2"]), (ALL, ["clip-2", "clip-3"])):
        found = [read_or_substitute(shards, i, 0, streams, seed=0)[2] for i in range(10)]
        assert [one.id for one in found if one is not None] == bad


@pytest.mark.fault("16", "more than 100 bad samples in a row", injected="all shards of 101 clips removed")
# torchdata waits 5 s for every worker of a loader that has failed.
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.faults)])
def test_too_many_in_a_row_end_with_the_last_reason_and_the_ids(
    build: Callable[..., Path], workers: int, record_outcome: RecordOutcome
) -> None:
    folder = build(101, 1)
    data = ClipsData(ShardSet.open(folder), seed=0, global_batch=2, workers=workers)
    for path in folder.glob("shard-*"):
        path.unlink()
    began = time.perf_counter()
    with pytest.raises(UnreadableError) as error:
        seen(data, 1)
    took = time.perf_counter() - began
    text = str(error.value)
    assert error.value.exit_code == 65
    assert "\n" not in text
    assert text.startswith("data: clip 'clip-")
    assert "nor can 100 substitutes in a row (`survival.quarantine.in_a_row` 100): clip-" in text
    last = text.rpartition("; the last: ")[2]
    assert last.startswith(f"data: cannot read {folder}/shard-")
    assert "No such file" in last
    record_outcome("exit 65 after 100 substitutes, with ids and the last error", back_s=took)


def test_the_limit_in_a_row_is_exact(build: Callable[..., Path]) -> None:
    folder = build(12, 1)
    shards = ShardSet.open(folder)
    sound = 11
    needed = next(n for n, (i, _) in enumerate(substitutes(12, 0, "clip-4", 4, 0), 1) if i == sound)
    for number in range(12):
        if number != sound:
            (folder / f"shard-{number:05d}.safetensors").unlink()
    clip, _, _ = read_or_substitute(shards, 4, 0, BOTH, seed=0, in_a_row=needed)
    assert clip.id == "clip-11"
    with pytest.raises(UnreadableError, match=rf"nor can {needed - 1} substitutes in a row"):
        read_or_substitute(shards, 4, 0, BOTH, seed=0, in_a_row=needed - 1)


def test_a_set_of_one_has_no_substitute(build: Callable[..., Path]) -> None:
    folder = build(1)
    shards = ShardSet.open(folder)
    garbage(folder, 0)
    with pytest.raises(UnreadableError, match=r"clip 'clip-0' cannot be read, nor can 0 substitutes"):
        read_or_substitute(shards, 0, 0, BOTH, seed=0)


def harm(folder: Path, how: str) -> int:
    """Damage the second shard of ten clips, four to a shard; how many clips are bad then."""
    path = folder / "shard-00001.safetensors"
    if how == "remove":
        path.unlink()
    elif how == "header":
        flip(path, 8)  # its opening brace
    elif how == "length":
        flip(path, 6)
    elif how == "truncate":
        os.truncate(path, path.stat().st_size - 7)
    elif how == "byte":
        flip(path, path.stat().st_size - 3)
    return 1 if how in ("truncate", "byte") else 4


@pytest.mark.fault("15", "corrupted or missing whole shard", injected="header xored, cut short, removed: within budget")
@pytest.mark.parametrize("how", ["remove", "header", "length", "truncate", "byte"])
def test_a_damaged_shard_is_named_and_its_bad_clips_are_replaced(
    build: Callable[..., Path], caplog: pytest.LogCaptureFixture, how: str, record_outcome: RecordOutcome
) -> None:
    folder = build(10)
    bad = harm(folder, how)
    began = time.perf_counter()
    with caplog.at_level(logging.WARNING):
        shards = open_to_train(folder, BOTH, share=0.4)
    took = time.perf_counter() - began
    (record,) = caplog.records
    text = record.getMessage()
    assert f"{folder}/shard-00001.safetensors is " in text
    assert f"{bad} of its 4 clips cannot be read and are replaced ({bad} of the 10 of the set;" in text
    assert "share` 0.4 allows 4" in text
    # Without verification, reading finds the same clips.
    others = [open_to_train(folder, BOTH, share=0.4, verify=False), shards]
    found = [seen(ClipsData(each, seed=3, global_batch=5), 4) for each in others]
    assert samples(found[0]) == samples(found[1])
    names = {one.id for one in replaced(found[0])}
    assert len(names) == bad
    assert names <= {f"clip-{i}" for i in range(4, 8)}
    record_outcome(f"{how}: named; {bad} of 10 clips replaced", steps_lost=0, back_s=took)


@pytest.mark.fault("15", "corrupted or missing whole shard", injected="the same, beyond the budget")
def test_beyond_the_budget_the_first_shard_the_count_and_the_key_are_named(
    build: Callable[..., Path], record_outcome: RecordOutcome
) -> None:
    folder = build(10)
    harm(folder, "remove")
    garbage(folder, 9)
    message = (
        rf"^data: shard {folder}/shard-00001\.safetensors is missing and 1 other shards are damaged: 5 of the 10 clips "
        r"of set 'train' cannot be read, and `survival\.quarantine\.share` 0\.4 allows 4; .* raise it$"
    )
    began = time.perf_counter()
    with pytest.raises(DataError, match=message) as error:
        open_to_train(folder, BOTH, share=0.4)
    assert error.value.exit_code == 65
    record_outcome(
        "exit 65 before anything trains; shard, count, budget and key are named", back_s=time.perf_counter() - began
    )
    assert len(open_to_train(folder, BOTH, share=0.5)) == 10


def test_damage_that_hits_no_clip_is_reported_and_allowed(
    build: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = build(10)
    with (folder / "shard-00002.safetensors").open("ab") as handle:
        handle.write(b"x")
    open_to_train(folder, BOTH, share=0)
    assert "shard-00002.safetensors is too long" in caplog.text
    assert "0 of its 2 clips cannot be read" in caplog.text


def test_the_null_text_has_no_substitute(build: Callable[..., Path]) -> None:
    folder = build(10)
    flip(folder / "null_text.safetensors", (folder / "null_text.safetensors").stat().st_size - 3)
    with pytest.raises(DataError, match=r"null_text\.safetensors is damaged"):
        open_to_train(folder, BOTH, share=1)


def test_the_budget_is_a_share_in_decimals() -> None:
    assert [allowed(share, clips) for share, clips in ((0.29, 100), (0.01, 99), (0.01, 100), (0, 9), (1, 9))] == [
        29, 0, 1, 0, 9,
    ]  # fmt: skip


def test_what_is_quarantined_is_part_of_the_state(shards: ShardSet) -> None:
    data: Any = ClipsData(shards, seed=0, global_batch=2)
    data.quarantined |= {"clip-7", "clip-2"}
    state = json.loads(json.dumps(data.state_dict()))
    assert state["quarantined"] == ["clip-2", "clip-7"]
    other = ClipsData(shards, seed=0, global_batch=2)
    other.load_state_dict(state)
    assert other.quarantined == {"clip-2", "clip-7"}
