"""Recipe keys of what a run does when something goes wrong."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Count, Positive, Share

FAR, LONG_S = 1_000_000_000, 10_000_000.0
"""Steps of no run, and a hundred days: what lies beyond is a slip."""


@config
class SpikeConfig:
    """A step is a spike where its loss or gradient norm lies more than `sigma` standard deviations (1.4826 times the
    median absolute deviation) above the median of the last `window` good steps of the same expert, from 16 on. (Under
    DeepSpeed the loss alone: its norm is known after the step.)"""

    action: Literal["ignore", "raise", "skip", "rollback"] = "ignore"
    sigma: Positive = 6.0
    window: Annotated[int, Field(ge=16, le=100_000)] = 128


@config
class RollbackConfig:
    """Training goes back to the newest checkpoint at least `back` steps before the event (or to its beginning) and
    passes over every batch from there to `ahead` batches past the event; at most `times` in a run."""

    back: Annotated[int, Field(ge=0, le=FAR)] = 100
    ahead: Annotated[int, Field(ge=0, le=FAR)] = 100
    times: Count = 3


@config
class WatchdogConfig:
    """Seconds without progress after which a process is taken to hang: `first_s` until its first step has ended,
    `later_s` in any step, checkpoint or validation after it."""

    first_s: Annotated[float, Field(ge=1, le=LONG_S)] = 3600.0
    later_s: Annotated[float, Field(ge=1, le=LONG_S)] = 1800.0


@config
class QuarantineConfig:
    """Clips that cannot be read while training are replaced; the run ends where more than `share` of the set, or more
    than `in_a_row` substitutes for one clip, are bad."""

    share: Share = 0.01
    in_a_row: Count = 100


@config
class SurvivalConfig:
    """What a run does when something goes wrong: no part of the recipe's hash, so that a run that has failed may go on
    with another answer. `skips`: steps that may be skipped in a run; `straggler`: a rank is told of when its own time
    of a step is that many times the others' median; `failed_saves`: periodic checkpoints in a row that may fail."""

    non_finite: Literal["raise", "skip", "rollback"] = "raise"
    spike: SpikeConfig = SpikeConfig()
    skips: Count = 100
    rollback: RollbackConfig = RollbackConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    quarantine: QuarantineConfig = QuarantineConfig()
    straggler: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    failed_saves: Count = 3

    @property
    def goes_back(self) -> bool:
        """Whether a bad step may send the run back to an earlier checkpoint."""
        return "rollback" in (self.non_finite, self.spike.action)
