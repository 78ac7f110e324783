"""The loader of a phase. Its state is a position in the stream of samples and the ranges that are skipped.

By default, Lightning and StatefulDataLoader lose or repeat data on resume; this counter does not. StatefulDataLoader
only delivers batches; its own state is never used.
"""

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from talkies.config import DataError
from talkies.data.clip import Clip
from talkies.data.collate import collate
from talkies.data.order import CounterSampler, Skipped, merged_ranges, micro_batch, past_skipped
from talkies.data.shards import ShardSet
from talkies.data.substitutes import IN_A_ROW, read_or_substitute
from talkies.signals.children import only_from_parent
from talkies.streams.batch import Batch, Replaced

Sample = tuple[Clip, int, Replaced | None]
"""A clip, its visit, and the clip that it replaces."""


class ClipDataset(Dataset[Sample]):
    """(clip index, visit) -> the clip or its substitute. It pickles without open files, so workers may use any start
    method."""

    def __init__(self, shards: ShardSet, streams: Collection[str], *, seed: int, in_a_row: int = IN_A_ROW) -> None:
        self.shards, self.streams, self.seed, self.in_a_row = shards, tuple(streams), seed, in_a_row

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return read_or_substitute(self.shards, *key, self.streams, seed=self.seed, in_a_row=self.in_a_row)

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """The collate function of the workers."""
        clips, visits, replaced = zip(*samples, strict=True)
        return collate(clips, visits, self.shards.null_texts, [entry for entry in replaced if entry is not None])


class ClipsData(LightningDataModule):
    """Endless micro-batches of `global_batch` / (`accumulate` x `data_ranks`) clips, from sample number `consumed` on.

    Only `streams` (default: all of the set) are read. Use it with `Trainer(max_epochs=-1, max_steps=...)`: it has no
    epochs. A clip that cannot be read is replaced (`in_a_row`: see `read_or_substitute`); `quarantined` holds the ids
    of those known so far. Raises RecipeError if the global batch is not divisible.
    """

    def __init__(
        self,
        shards: ShardSet,
        *,
        seed: int,
        global_batch: int,
        accumulate: int = 1,
        workers: int = 0,
        streams: Collection[str] | None = None,
        rank: int = 0,
        data_ranks: int = 1,
        in_a_row: int = IN_A_ROW,
    ) -> None:
        super().__init__()
        self.micro = micro_batch(global_batch, accumulate, data_ranks)
        self.shards, self.seed, self.workers = shards, seed, workers
        self.streams = tuple(shards.grids) if streams is None else tuple(streams)
        self.rank, self.data_ranks = rank, data_ranks
        self.in_a_row = in_a_row
        self.consumed = 0
        self.passed: Skipped = ()
        self.quarantined: frozenset[str] = frozenset()

    def advance(self, n: int) -> None:
        """Count `n` more samples (of all ranks) as trained on; call it once after every optimizer step."""
        self.consumed = self.position + n

    @property
    def position(self) -> int:
        """Position in the stream at which the next optimizer step begins."""
        return past_skipped(self.consumed, self.passed)

    def pass_over(self, *ranges: tuple[int, int]) -> None:
        """Skip positions [start, stop) (whole global batches) from now on; call it before the loader is iterated."""
        self.passed = merged_ranges((*self.passed, *ranges))

    def train_dataloader(self) -> StatefulDataLoader:
        """Begins at the value of `consumed` when iteration starts."""
        dataset = ClipDataset(self.shards, self.streams, seed=self.seed, in_a_row=self.in_a_row)
        sampler = CounterSampler(
            len(self.shards),
            self.seed,
            lambda: self.consumed,
            micro=self.micro,
            rank=self.rank,
            data_ranks=self.data_ranks,
            passed=lambda: self.passed,
        )
        with warnings.catch_warnings():  # torchdata 0.11 calls a function that newer torch deprecates
            warnings.filterwarnings("ignore", "'set_vital' is deprecated")
            return StatefulDataLoader(
                dataset,
                batch_sampler=sampler,
                num_workers=self.workers,
                collate_fn=dataset.batch,
                worker_init_fn=only_from_parent,
                snapshot_every_n_steps=2**31,  # a snapshot costs time, and none is ever read
            )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning cannot move a frozen dataclass; the batch moves itself."""
        del dataloader_idx
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON; equal on all ranks."""
        return {
            "consumed": self.consumed,
            "passed": [list(pair) for pair in self.passed],
            "clips": len(self.shards),
            "fingerprint": self.shards.fingerprint,
            "seed": self.seed,
            "quarantined": sorted(self.quarantined),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved counter; call it before the loader of `train_dataloader` is iterated.

        Raises DataError if the data or the seed differs, because the order of samples would differ too.
        """
        if state_dict["fingerprint"] != self.shards.fingerprint:
            raise DataError(
                f"resume: the fingerprint of {self.shards.folder} is {self.shards.fingerprint[:12]} "
                f"({len(self.shards)} clips), the checkpoint's is {state_dict['fingerprint'][:12]} "
                f"({state_dict['clips']} clips): restore the data it was trained on, or start a new run (--new)"
            )
        if state_dict["seed"] != self.seed:
            raise DataError(f"resume: `seed` is {self.seed}, the checkpoint's is {state_dict['seed']}: use that one")
        self.consumed = int(state_dict["consumed"])
        self.passed = merged_ranges((start, stop) for start, stop in state_dict["passed"])
        self.quarantined = frozenset(state_dict["quarantined"])
