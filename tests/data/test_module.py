"""Training that stops and resumes sees the same samples and reaches the same weights as uninterrupted training."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from talkies.config import DataError, RecipeError
from talkies.data.collate import collate
from talkies.data.module import ClipsData
from talkies.data.order import global_indices
from talkies.data.shards import ShardSet
from talkies.streams.batch import Batch

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def latent(batch: Batch, name: str) -> Tensor:
    return batch.streams[name].latent.flatten(1)


class Probe(LightningModule):
    """One Linear per stream; the loss depends on every latent and on the visit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.video, self.audio = nn.Linear(48, 4), nn.Linear(35, 4)
        self.seen: list[tuple[tuple[str, ...], tuple[int, ...], float]] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        video, audio = self.video(latent(batch, "video")), self.audio(latent(batch, "audio"))
        loss = ((video - audio).square().mean(1) * (1 + torch.tensor(batch.visits))).mean()
        self.seen.append((batch.ids, batch.visits, float(loss.detach())))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.trainer.estimated_stepping_batches > 0  # builds the loader early: must not matter
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Count(Callback):
    """Advance the data with every optimizer step."""

    def __init__(self, data: ClipsData, global_batch: int) -> None:
        self.data, self.global_batch = data, global_batch

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if (rest[-1] + 1) % trainer.accumulate_grad_batches == 0:
            self.data.advance(self.global_batch)


@dataclass
class Run:
    """The result of training: all samples seen, and the states from which to continue."""

    seen: list[Any] = field(default_factory=list)
    data: dict[str, Any] | None = None
    weights: dict[str, Tensor] | None = None
    optimizer: dict[str, Any] | None = None


GLOBAL = 4


def train(run: Run, shards: ShardSet, steps: int, *, accumulate: int, workers: int) -> None:
    """Train `steps` more optimizer steps."""
    module = Probe()
    data = ClipsData(shards, seed=11, global_batch=GLOBAL, accumulate=accumulate, workers=workers)
    if run.data is not None and run.weights is not None:
        data.load_state_dict(json.loads(json.dumps(run.data)))
        module.load_state_dict(run.weights)

    class Restore(Callback):
        def on_train_start(self, trainer: Trainer, *_: Any) -> None:
            if run.optimizer is not None:
                trainer.optimizers[0].load_state_dict(run.optimizer)

    trainer = Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, max_steps=steps, accumulate_grad_batches=accumulate, logger=False,
        callbacks=[Count(data, GLOBAL), Restore()], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    run.seen += module.seen
    run.data = data.state_dict()
    run.weights = {name: value.clone() for name, value in module.state_dict().items()}
    run.optimizer = trainer.optimizers[0].state_dict()


STEPS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ShardSet, int], Run]:
    """The uninterrupted run, once per accumulation."""
    made: dict[int, Run] = {}

    def get(shards: ShardSet, accumulate: int) -> Run:
        if accumulate not in made:
            run = Run()
            train(run, shards, STEPS, accumulate=accumulate, workers=0)
            made[accumulate] = run
        return made[accumulate]

    return get


# 12 clips in global batches of 4: a pass is 3 steps. Stops mid-pass, on a pass boundary, and several in one pass.
@pytest.mark.parametrize(
    ("stops", "accumulate", "workers"),
    [
        ([5], 1, 0),
        ([6], 1, 0),
        ([5], 2, 0),
        ([3, 4, 5, 9], 2, 0),
        ([6, 7, 8], 1, 0),
        ([6, 8], 1, 2),
        ([5], 2, 2),
    ],
)
def test_resumed_equals_uninterrupted(
    build: Callable[..., Path],
    whole: Callable[[ShardSet, int], Run],
    stops: list[int],
    accumulate: int,
    workers: int,
) -> None:
    shards = ShardSet.open(build(12))
    expected, run = whole(shards, accumulate), Run()
    for start, end in itertools.pairwise([0, *stops, STEPS]):
        train(run, shards, end - start, accumulate=accumulate, workers=workers)
        assert run.data is not None
        assert run.data["consumed"] == end * GLOBAL  # prefetched batches do not count
    assert run.seen == expected.seen
    assert run.weights is not None
    assert expected.weights is not None
    assert all(torch.equal(run.weights[name], value) for name, value in expected.weights.items())
    order = [(f"clip-{clip}", visit) for step in range(STEPS) for clip, visit in global_indices(12, 11, step, GLOBAL)]
    assert [sample for ids, visits, _ in run.seen for sample in zip(ids, visits, strict=True)] == order


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")  # on two cores
@pytest.mark.fault("c", "other loader workers on resume", injected="0, then 2, then 4, then 0 workers")
def test_the_number_of_workers_may_change(
    build: Callable[..., Path], whole: Callable[[ShardSet, int], Run], record_outcome: Callable[..., None]
) -> None:
    """In the middle of a pass and at its end."""
    shards = ShardSet.open(build(12))
    expected, run = whole(shards, 1), Run()
    for steps, workers in ((2, 0), (4, 2), (2, 4), (4, 0)):
        train(run, shards, steps, accumulate=1, workers=workers)
    assert run.seen == expected.seen
    assert run.weights is not None
    assert expected.weights is not None
    assert all(torch.equal(run.weights[name], value) for name, value in expected.weights.items())
    record_outcome("same clips, same weights, bitwise", steps_lost=0)


def first(data: ClipsData, count: int) -> list[Batch]:
    return list(itertools.islice(data.train_dataloader(), count))


def ids(batches: Sequence[Batch]) -> list[tuple[str, int]]:
    return [sample for batch in batches for sample in zip(batch.ids, batch.visits, strict=True)]


@pytest.mark.fault("24", "world size change", injected="1 -> 2 readers")
def test_world_size_may_change(shards: ShardSet, record_outcome: Callable[..., None]) -> None:
    alone = ClipsData(shards, seed=1, global_batch=6, accumulate=3)
    expected = ids(first(alone, 9))
    alone.advance(6)
    for world in (1, 2):
        found: list[list[tuple[str, int]]] = []
        for rank in range(world):
            data = ClipsData(shards, seed=1, global_batch=6, accumulate=3, rank=rank, data_ranks=world)
            data.load_state_dict(alone.state_dict())
            found.append(ids(first(data, 6)))
        assert [sample for group in zip(*found, strict=True) for sample in group] == expected[6:]
    record_outcome("same clips")


def test_state_may_be_loaded_after_the_loader_was_made(shards: ShardSet) -> None:
    data = ClipsData(shards, seed=0, global_batch=2)
    loader = data.train_dataloader()
    data.load_state_dict({**data.state_dict(), "consumed": 8})
    assert ids([next(iter(loader))]) == ids(first(data, 1))
    assert data.consumed == 8


def test_only_the_asked_streams_arrive(shards: ShardSet) -> None:
    batch = first(ClipsData(shards, seed=0, global_batch=4, streams=["audio"]), 1)[0]
    assert list(batch.streams) == list(batch.grids) == ["audio"]


def test_other_data_or_seed_is_refused(build: Callable[..., Path]) -> None:
    ten, nine = (ShardSet.open(build(n, name=str(n))) for n in (10, 9))
    state = ClipsData(ten, seed=0, global_batch=2).state_dict()
    with pytest.raises(DataError, match=r"\(9 clips\), the checkpoint's is .* \(10 clips\)"):
        ClipsData(nine, seed=0, global_batch=2).load_state_dict(state)
    with pytest.raises(DataError, match="`seed` is 1, the checkpoint's is 0"):
        ClipsData(ten, seed=1, global_batch=2).load_state_dict(state)


@pytest.mark.fault("24", "world size change", injected="a world that does not divide the global batch")
def test_indivisible_global_batch_is_refused(shards: ShardSet, record_outcome: Callable[..., None]) -> None:
    with pytest.raises(RecipeError, match="nearest valid: 8, 12"):
        ClipsData(shards, seed=0, global_batch=10, accumulate=2, data_ranks=2)
    record_outcome("refused with the nearest that does")


def test_collate(shards: ShardSet) -> None:
    clips = [shards.read(i) for i in (0, 1, 4)]
    batch = collate(clips, [0, 0, 2], shards.null_texts)
    assert batch.ids == ("clip-0", "clip-1", "clip-4")
    assert batch.visits == (0, 0, 2)
    audio, video = batch.streams["audio"], batch.streams["video"]
    assert audio.mask is not None
    assert audio.mask.tolist() == [[True] * 5 + [False] * 2, [True] * 7, [True] * 7]
    assert audio.valid is audio.mask
    assert video.mask is None
    assert (video.valid.shape, bool(video.valid.all())) == ((3, 4), True)
    assert video.latent.shape == (3, 3, 4, 2, 2)
    assert all(stream.time.tolist() == [0.0] * 3 for stream in batch.streams.values())
    assert torch.equal(batch.streams["image"].latent[1], clips[1].streams["image"].values)
    assert batch.captions["text"][1] == clips[1].texts["text"].caption
    assert batch.texts["text"].length.tolist() == [0, 1, 4]
    assert batch.texts["text"].embedding.shape == (3, 6, 8)
    assert not bool(batch.texts["text"].embedding[1, 1:].any())
    assert torch.equal(batch.texts["text"].embedding[2, :4], clips[2].texts["text"].features)
    assert batch.null_texts["text"].embedding.shape == (1, 6, 8)
    unpadded = collate(clips[1:], [0, 0], shards.null_texts)
    assert all(stream.mask is None for stream in unpadded.streams.values())


def test_collate_gives_fp32(build: Callable[..., Path], make_clip: Callable[..., Any], shards: ShardSet) -> None:
    clip = make_clip(1, dtype=torch.bfloat16)
    batch = collate([clip], [0], shards.null_texts)
    assert batch.streams["video"].latent.dtype == torch.float32
    assert torch.equal(batch.streams["video"].latent[0], clip.streams["video"].values.float())
