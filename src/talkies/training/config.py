"""Recipe keys of one training phase."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import (
    BatchSize,
    Bins,
    Count,
    Decay,
    Draws,
    Natural,
    NonNegative,
    Positive,
    PositiveShare,
)


@config
class AllConfig:
    """Every parameter that the phase builds is trained."""

    kind: Literal["all"] = "all"


@config
class LoraConfig:
    """PEFT LoRA over a frozen parent: an adapter on every Linear that `targets` names, in blocks and elsewhere."""

    kind: Literal["lora"] = "lora"
    rank: Count = 16
    alpha: Count = 16
    dropout: Decay = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q", "k", "v", "o", "ffn.0", "ffn.2")


TrainConfig = Annotated[AllConfig | LoraConfig, Field(discriminator="kind")]


@config
class OptimizerConfig:
    """AdamW over fp32 master weights. `lr`: peak rates, by the names of the system's parameter groups. The rate rises
    linearly over `warmup` steps; `schedule` shapes the rest of the phase; `decay` is the share of the steps over which
    `wsd` falls to zero."""

    kind: Literal["adamw"] = "adamw"
    lr: dict[str, Positive]
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
    global_batch: BatchSize
    accumulate: BatchSize = 1
    checkpoint_every: Count
    keep: Count = 2
    log_every: Count = 10


@config
class EmaConfig:
    """Exponential moving average of the trained parameters: decay min(`decay`, (1 + n) / (10 + n)) after n updates."""

    decay: Decay = 0.999


@config
class ValidationConfig:
    """Every `every` steps: the loss on `clips` held-out clips at fixed noise, in `bins` noise bins, and `samples`
    sampled clips. `final_clips`: how many clips the evaluation before a promotion samples."""

    every: Count
    clips: Count = 16
    bins: Bins = 4
    samples: Annotated[int, Field(ge=0, le=16)] = 2
    sampling_steps: Draws = 20
    final_clips: Count = 64
