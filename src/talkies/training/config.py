"""Recipe keys of one training phase."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import (
    Batch,
    Bins,
    Count,
    Decay,
    Draws,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
    Share,
)


@config
class VideoPretrainingConfig:
    """Image-to-video pretraining of both video experts; nothing else is built."""

    kind: Literal["video_pretraining"] = "video_pretraining"
    experts: Literal["alternate"] = "alternate"
    text_dropout: Share = 0.1


@config
class AudioPretrainingConfig:
    """Text-to-audio pretraining of the audio tower (MOVA stage A)."""

    kind: Literal["audio_pretraining"] = "audio_pretraining"
    text_dropout: Share = 0.1


@config
class JointConfig:
    """Both experts, audio tower and Bridge, all trained (MOVA stage B)."""

    kind: Literal["joint"] = "joint"
    experts: Literal["alternate"] = "alternate"
    text_dropout: Share = 0.2
    video_loss_weight: NonNegative = 1.0
    audio_loss_weight: NonNegative = 0.2


@config
class LoraConfig:
    """PEFT LoRA over a frozen joint model: every Linear of every DiT block and of the Bridge (MOVA section 9)."""

    kind: Literal["lora"] = "lora"
    experts: Literal["alternate"] = "alternate"
    rank: Count = 16
    alpha: Count = 16
    dropout: Decay = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q", "k", "v", "o", "ffn.0", "ffn.2")
    text_dropout: Share = 0.2
    video_loss_weight: NonNegative = 1.0
    audio_loss_weight: NonNegative = 0.2


PhaseConfig = Annotated[
    VideoPretrainingConfig | AudioPretrainingConfig | JointConfig | LoraConfig, Field(discriminator="kind")
]


@config
class RatesConfig:
    """Peak learning rates per component."""

    towers: Positive
    bridge: Positive


@config
class OptimizerConfig:
    """AdamW over fp32 master weights. `warmup` steps rise linearly; `schedule` shapes the rest of the phase; `decay` is
    the share of the steps in which `wsd` falls to zero."""

    kind: Literal["adamw"] = "adamw"
    lr: RatesConfig
    weight_decay: NonNegative = 0.001
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: Positive = 1e-8
    warmup: Natural = 0
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    decay: PositiveShare = 0.1
    clip: NonNegative = 1.0


@config
class StepsConfig:
    """Durations in optimizer steps. `global_batch` clips per optimizer step, in `accumulate` equal micro-batches."""

    max: Count
    global_batch: Batch
    accumulate: Batch = 1
    checkpoint_every: Count
    keep: Count = 2
    log_every: Count = 10


@config
class EmaConfig:
    """Exponential average of what trains: decay min(`decay`, (1 + n) / (10 + n)) after n updates."""

    decay: Decay = 0.999


@config
class ValidationConfig:
    """Every `every` steps: held-out loss at fixed noise in `bins` noise levels over `clips` clips, and `samples`
    sampled clips. `final_clips`: how many the evaluation before a promotion makes."""

    every: Count
    clips: Count = 16
    bins: Bins = 4
    samples: Annotated[int, Field(ge=0, le=16)] = 2
    sampling_steps: Draws = 20
    final_clips: Count = 64


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
