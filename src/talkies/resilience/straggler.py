"""Stragglers, ranks slower than the others: every rank measures its own time, and the main process compares.

Ranks wait for each other in every step, so whole steps last equally long everywhere. A rank's own time of a
micro-batch is its wait for data and its forward pass, which under DDP does not communicate. Under FSDP2, ZeRO-3 and in
sequence groups the forward pass waits for the other ranks, too: there slow data can be attributed to a rank, slow
computing cannot.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch

LEAST_S = 0.1
"""A rank that is slower by less than this per step than the median of the others is not reported."""
REPORTS = 2
"""Slow reports in a row before the warning: a single one may be a page fault, or another program on the machine."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankTime:
    """A rank's own seconds per step: median wait for data, median time of computing, and mean wait for data."""

    data: float
    compute: float
    mean_data: float

    @property
    def seconds(self) -> float:
        """Data and compute."""
        return self.data + self.compute


class RankClock:
    """The clock of one rank. On CUDA, events on the stream time the computing; they are read in `take`, never within a
    step. The first micro-batch of an attempt compiles and allocates: it is left out if there are others."""

    def __init__(self) -> None:
        self._events = torch.cuda.is_available()
        self._began = self._loaded = time.perf_counter()
        self.clear()

    def clear(self) -> None:
        """Another attempt begins; the previous one may have ended in the middle of a step."""
        self._first = True
        self._before: tuple[list[float], list[float]] = ([], [])
        self._data: list[float] = []
        self._compute: list[float] = []
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def loading(self) -> None:
        """The wait for the next micro-batch begins."""
        self._began = time.perf_counter()

    def loaded(self) -> None:
        """The micro-batch has arrived."""
        self._loaded = time.perf_counter()
        self._data.append(self._loaded - self._began)
        if self._events:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            self._pairs.append((begin, end))

    def computed(self) -> None:
        """Its forward pass has been launched (CUDA) or has ended (CPU)."""
        if self._events:
            self._pairs[-1][1].record()
        else:
            self._compute.append(time.perf_counter() - self._loaded)

    def seconds(self) -> tuple[list[float], list[float]]:
        """Waits for data and times of computing since the last `take`. Synchronises with the device."""
        if self._pairs:
            torch.cuda.current_stream().synchronize()
            self._compute = [begin.elapsed_time(end) / 1000 for begin, end in self._pairs]
        data, compute = (
            before + (times[int(self._first) :] or ([] if before else times))
            for before, times in zip(self._before, (self._data, self._compute), strict=True)
        )
        return data, compute

    def resume(self, data: list[float], compute: list[float]) -> None:
        """Add what an earlier attempt measured after its last `take`."""
        self._before = (self._before[0] + data, self._before[1] + compute)

    def take(self, micro_batches: int) -> RankTime | None:
        """The time of a step of `micro_batches` since the last call; None if nothing was measured."""
        data, compute = self.seconds()
        self._first = False
        self._before = ([], [])
        self._data, self._compute, self._pairs = [], [], []
        if not data or not compute:
            return None
        values = (median(data), median(compute), fmean(data))
        return RankTime(*(value * micro_batches for value in values))


class Stragglers:
    """Finds the slowest rank, and warns (if `warn`) of one that needs more than `ratio` times the others' median: once,
    until it is fast again."""

    def __init__(self, ratio: float, *, warn: bool = True) -> None:
        self.ratio, self.warn = ratio, warn
        self._slow: dict[int, int] = {}

    def metrics(self, owned: Sequence[RankTime | None], step: int) -> dict[str, float]:
        """train/data_seconds (mean wait per step over ranks) and, of several ranks, train/slowest_rank and its time as
        a multiple of the others' median, train/slowest_ratio."""
        known = [own for own in owned if own is not None]
        if len(known) < len(owned):
            return {}
        metrics = {"train/data_seconds": fmean(own.mean_data for own in known)}
        if len(known) > 1:
            rank = max(range(len(known)), key=lambda number: known[number].seconds)
            usual = median(own.seconds for number, own in enumerate(known) if number != rank)
            times = known[rank].seconds / max(usual, 1e-6)
            metrics |= {"train/slowest_rank": float(rank), "train/slowest_ratio": times}
            self._judge(rank, known, usual, step)
        return metrics

    def _judge(self, rank: int, known: Sequence[RankTime], usual: float, step: int) -> None:
        own = known[rank]
        slow = own.seconds > self.ratio * usual and own.seconds - usual > LEAST_S
        self._slow = {rank: self._slow.get(rank, 0) + 1} if slow else {}
        if self._slow.get(rank) == REPORTS and self.warn:
            others = [other for number, other in enumerate(known) if number != rank]
            _log.warning(
                "straggler: rank %d takes %.1f times as long as the median of the others until step %d: "
                "%.3f s of its own per step (data %.3f s, compute %.3f s; the others: data %.3f s, compute %.3f s); "
                "the run continues",
                rank, own.seconds / max(usual, 1e-6), step, own.seconds, own.data, own.compute,
                median(other.data for other in others), median(other.compute for other in others),
            )  # fmt: skip
