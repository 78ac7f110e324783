"""Clips that could not be read: reported once each, recorded in a file and in the checkpoints, limited in number."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from talkies.config import DataError
from talkies.config.plain_json import canonical_json
from talkies.config.records import present, regular_bytes
from talkies.data.module import ClipsData
from talkies.data.substitutes import KEY, QUARANTINED, allowed
from talkies.files.durable import fsync_path
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.streams.batch import Batch, Replaced

MAX_NAMED = 5
"""How many clips get a warning of their own; the others are counted."""
_log = logging.getLogger(__name__)


class QuarantineError(DataError):
    """More clips cannot be read than the recipe allows."""

    shared = True
    """Every rank raises it; one reports it."""


class Quarantine(Callback):
    """Collects the clips that batches report as replaced. Every `every` optimizer steps, at the last one and before a
    checkpoint, all processes exchange what they found (`exchange`).

    The main process appends a line per clip to `file`, warns, and calls `sink(count, step)` when the number of clips
    has grown. If more than `share` of the set is unreadable, all raise QuarantineError at the same step. Put it before
    `CheckpointCallback`.
    """

    def __init__(
        self,
        data: ClipsData,
        file: Path,
        *,
        share: float,
        every: int,
        last: int,
        sink: Callable[[int, int], None],
        ranks: Ranks | None = None,
    ) -> None:
        self.data, self.file, self.share, self.every, self.last = data, file, share, every, last
        self.sink, self.ranks = sink, ranks or Ranks(ALONE)
        self._found: dict[str, tuple[int, Replaced]] = {}
        self._unwritten: list[tuple[int, Replaced]] = []
        self._reported = 0
        self._unreported = False

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON, without the ids: the data's state holds them."""
        return {"unreported": self._unreported}

    def load_state_dicts(self, states: Iterable[Mapping[str, Any]], device: torch.device) -> None:
        """Restore what `state_dict` returned on every rank."""
        del device
        self._unreported = any(state["unreported"] for state in states)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Collect the replaced clips; exchange them after the last micro-batch of a reporting step."""
        del pl_module, outputs
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        step = trainer.global_step
        for one in batch.replaced:
            if one.id not in self.data.quarantined:
                self._found.setdefault(one.id, (step if stepped else step + 1, one))
        if stepped and (step % self.every == 0 or step == self.last):
            self.exchange(step)
            self._limit()

    def exchange(self, step: int, *, report: bool = True) -> None:
        """Share the finds of every process with all. Every process calls it at the same step. Without `report` the
        metric waits for the next call, so that a stopped run logs the same points as an uninterrupted one."""
        everywhere = [found for of_rank in self.ranks.gather(list(self._found.values())) for found in of_rank]
        self._found = {}
        new: dict[str, tuple[int, Replaced]] = {}
        for first, one in sorted(everywhere, key=lambda found: (found[0], found[1].id)):
            if one.id not in self.data.quarantined:
                new.setdefault(one.id, (first, one))
        if new:
            self.data.quarantined |= new.keys()
            self._unreported = True
            if self.ranks.main:
                self._report(list(new.values()))
        if report and self._unreported:
            self._unreported = False
            if self.ranks.main:
                self.sink(len(self.data.quarantined), step)

    def _report(self, new: list[tuple[int, Replaced]]) -> None:
        place = f"{self.data.shards.folder}{os.sep}"  # a release holds the file's hash: it must not depend on paths
        relative = [(first, replace(one, reason=one.reason.replace(place, ""))) for first, one in new]
        self._unwritten = append(self.file, [*self._unwritten, *relative])
        for _, one in new[: max(0, MAX_NAMED - self._reported)]:
            _log.warning("%s; clip %s stands in for it while training", one.reason, one.substitute)
        self._reported += len(new)
        if self._reported > MAX_NAMED:
            _log.warning("data: %d clips are replaced so far; %s names them", len(self.data.quarantined), self.file)

    def _limit(self) -> None:
        bad, clips = len(self.data.quarantined), len(self.data.shards)
        limit = allowed(self.share, clips)
        if bad > limit:
            raise QuarantineError(
                f"data: {bad} of the {clips} clips of {self.data.shards.folder} could not be read, and `{KEY}.share` "
                f"{self.share:g} allows {limit}; {self.file} names them. The count lasts for the run's whole life: "
                "raise the share to continue, or copy the shards again (or run `talkies prepare`) and start with --new"
            )


def append(file: Path, new: list[tuple[int, Replaced]]) -> list[tuple[int, Replaced]]:
    """Append a line for every clip that has none yet. If the disk refuses them, warn and return `new` for the next try;
    the checkpoints hold the ids, too."""
    try:
        known = recorded(file)
        lines = [{**asdict(one), "step": step} for step, one in new if one.id not in known]
        with file.open("ab") as handle:
            handle.write("".join(f"{canonical_json(line)}\n" for line in lines).encode())
            handle.flush()
            os.fsync(handle.fileno())
        fsync_path(file.parent)
    except OSError as error:
        _log.warning("data: cannot write %s: %s; %d clips are missing there", file, error.strerror, len(new))
        return new
    return []


def recorded(file: Path) -> set[str]:
    """The ids in the complete lines of `file`. An incomplete last line is cut off; a damaged line is ignored."""
    content = regular_bytes(file, QUARANTINED.limit) if present(file) else b""
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(file, len(whole))
    ids = set()
    for line in whole.splitlines():
        with suppress(DataError):
            ids.add(QUARANTINED.decode(line, str(file)).id)
    return ids
