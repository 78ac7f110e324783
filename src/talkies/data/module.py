"""The loader of a phase. Its state is one number, the position in the stream of samples, and what is passed over in it.

Facts: out of the box Lightning and StatefulDataLoader lose or repeat data on resume (reliability.md B2); this counter
does not (B3). StatefulDataLoader only carries batches; its own state is never used.
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
from talkies.data.order import CounterSampler, Passed, beyond, joined, micro_batch
from talkies.data.shards import ShardSet
from talkies.data.substitutes import IN_A_ROW, read_sound
from talkies.signals.children import only_from_parent
from talkies.streams import Modality
from talkies.streams.batch import Batch, Replaced

Sample = tuple[Clip, int, Replaced | None]
"""A clip, its visit, and what it replaces."""


class ClipDataset(Dataset[Sample]):
    """(clip index, visit) -> the clip or what stands in for it. It pickles without open files, so any start method of
    workers will do."""

    def __init__(
        self, shards: ShardSet, modalities: Collection[Modality], *, seed: int, in_a_row: int = IN_A_ROW
    ) -> None:
        self.shards, self.modalities, self.seed, self.in_a_row = shards, tuple(modalities), seed, in_a_row

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return read_sound(self.shards, *key, self.modalities, seed=self.seed, in_a_row=self.in_a_row)

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """What the workers send."""
        clips, visits, replaced = zip(*samples, strict=True)
        return collate(clips, visits, self.shards.null_text, [one for one in replaced if one is not None])


class ClipsData(LightningDataModule):
    """Micro-batches of `global_batch` / (`accumulate` x `world`) clips, endless, from sample number `consumed` on.

    `modalities` (default: all of the set) are what is read. For `Trainer(max_epochs=-1, max_steps=...)`: there is no
    epoch, so there is no epoch's end to lose. A clip that cannot be read is replaced (`in_a_row`: see `read_sound`);
    `quarantined` are the ids of those known so far. Raises RecipeError where the global batch does not divide.
    """

    def __init__(
        self,
        shards: ShardSet,
        *,
        seed: int,
        global_batch: int,
        accumulate: int = 1,
        workers: int = 0,
        modalities: Collection[Modality] | None = None,
        rank: int = 0,
        world: int = 1,
        in_a_row: int = IN_A_ROW,
    ) -> None:
        super().__init__()
        self.micro = micro_batch(global_batch, accumulate, world)
        self.shards, self.seed, self.workers = shards, seed, workers
        self.modalities = tuple(shards.grids) if modalities is None else tuple(modalities)
        self.rank, self.world = rank, world
        self.in_a_row = in_a_row
        self.consumed = 0
        self.passed: Passed = ()
        self.quarantined: frozenset[str] = frozenset()

    def advance(self, n: int) -> None:
        """`n` more samples (of all ranks) were trained on: call it once per optimizer step, after it."""
        self.consumed = self.position + n

    @property
    def position(self) -> int:
        """Where in the stream the next optimizer step begins."""
        return beyond(self.consumed, self.passed)

    def pass_over(self, *ranges: tuple[int, int]) -> None:
        """Leave positions [start, stop) out from now on; whole global batches, before the loader is iterated."""
        self.passed = joined((*self.passed, *ranges))

    def train_dataloader(self) -> StatefulDataLoader:
        """Begins at `consumed`, as it is when the loader is iterated."""
        dataset = ClipDataset(self.shards, self.modalities, seed=self.seed, in_a_row=self.in_a_row)
        sampler = CounterSampler(
            len(self.shards),
            self.seed,
            lambda: self.consumed,
            micro=self.micro,
            rank=self.rank,
            world=self.world,
            passed=lambda: self.passed,
        )
        with warnings.catch_warnings():  # torchdata 0.11 calls what newer torch deprecates
            warnings.filterwarnings("ignore", "'set_vital' is deprecated")
            return StatefulDataLoader(
                dataset,
                batch_sampler=sampler,
                num_workers=self.workers,
                collate_fn=dataset.batch,
                worker_init_fn=only_from_parent,
                snapshot_every_n_steps=2**31,  # each snapshot costs time, and none is ever read
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
        """Continue at a saved counter; before or after `train_dataloader`, but before it is iterated.

        Raises DataError where the data or the seed is another: the order of samples would be too.
        """
        if state_dict["fingerprint"] != self.shards.fingerprint:
            raise DataError(
                f"resume: the fingerprint of {self.shards.folder} is {self.shards.fingerprint[:12]} "
                f"({len(self.shards)} clips), the checkpoint's is {state_dict['fingerprint'][:12]} "
                f"({state_dict['clips']} clips): give back the data it was trained on, or start a new run (--new)"
            )
        if state_dict["seed"] != self.seed:
            raise DataError(f"resume: `seed` is {self.seed}, the checkpoint's is {state_dict['seed']}: use that one")
        self.consumed = int(state_dict["consumed"])
        self.passed = joined((start, stop) for start, stop in state_dict["passed"])
        self.quarantined = frozenset(state_dict["quarantined"])
