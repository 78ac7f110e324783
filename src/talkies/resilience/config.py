"""Recipe keys of what a run does when something goes wrong."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Count, Positive, Share

FAR, LONG_S = 1_000_000_000, 10_000_000.0
"""More steps than any run has, and about a hundred days: larger values are typing errors."""


@config
class SpikeConfig:
    """A step is a spike if its loss or gradient norm lies more than `sigma` standard deviations (1.4826 times the
    median absolute deviation) above the median of the last `window` good steps of the same turn, once there are 16.
    (Under DeepSpeed only the loss counts: its norm is known after the step.)"""

    action: Literal["ignore", "raise", "skip", "rollback"] = "ignore"
    sigma: Positive = 6.0
    window: Annotated[int, Field(ge=16, le=100_000)] = 128


@config
class RollbackConfig:
    """Training returns to the newest checkpoint at least `back` steps before the bad step (or to the beginning) and
    skips every batch from there to `ahead` batches past the bad step; at most `times` in a run."""

    back: Annotated[int, Field(ge=0, le=FAR)] = 100
    ahead: Annotated[int, Field(ge=0, le=FAR)] = 100
    times: Count = 3


@config
class WatchdogConfig:
    """Seconds without progress after which a process counts as hanging: `first_s` until its first step has ended,
    `later_s` in every later step, checkpoint or validation."""

    first_s: Annotated[float, Field(ge=1, le=LONG_S)] = 3600.0
    later_s: Annotated[float, Field(ge=1, le=LONG_S)] = 1800.0


@config
class QuarantineConfig:
    """Clips that cannot be read during training are replaced; the run ends when more than `share` of the set, or more
    than `in_a_row` substitutes for one clip, are unreadable."""

    share: Share = 0.01
    in_a_row: Count = 100


@config
class SurvivalConfig:
    """What a run does when something goes wrong. Excluded from the recipe's hash, so that a failed run may continue
    with other settings. `skips`: how many steps a run may skip; `straggler`: a rank is reported when its own time per
    step exceeds this many times the others' median; `failed_saves`: periodic checkpoints in a row that may fail."""

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
        """Whether a bad step may make the run return to an earlier checkpoint."""
        return "rollback" in (self.non_finite, self.spike.action)
