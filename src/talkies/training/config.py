"""Recipe keys of one training phase."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config


@config
class VideoPretrainingConfig:
    """Image-to-video pretraining of both video experts; nothing else is built."""

    kind: Literal["video_pretraining"] = "video_pretraining"
    experts: Literal["alternate"] = "alternate"
    text_dropout: float = 0.1


@config
class AudioPretrainingConfig:
    """Text-to-audio pretraining of the audio tower (MOVA stage A)."""

    kind: Literal["audio_pretraining"] = "audio_pretraining"
    text_dropout: float = 0.1


@config
class JointConfig:
    """Both experts, audio tower and Bridge, all trained (MOVA stage B)."""

    kind: Literal["joint"] = "joint"
    experts: Literal["alternate"] = "alternate"
    text_dropout: float = 0.2
    video_loss_weight: float = 1.0
    audio_loss_weight: float = 0.2


@config
class LoraConfig:
    """PEFT LoRA over a frozen joint model: every Linear of every DiT block and of the Bridge (MOVA section 9)."""

    kind: Literal["lora"] = "lora"
    experts: Literal["alternate"] = "alternate"
    rank: int = 16
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q", "k", "v", "o", "ffn.0", "ffn.2")
    text_dropout: float = 0.2
    video_loss_weight: float = 1.0
    audio_loss_weight: float = 0.2


PhaseConfig = Annotated[
    VideoPretrainingConfig | AudioPretrainingConfig | JointConfig | LoraConfig, Field(discriminator="kind")
]


@config
class RatesConfig:
    """Peak learning rates per component."""

    towers: float
    bridge: float


@config
class OptimizerConfig:
    """AdamW over fp32 master weights. `warmup` steps rise linearly; `schedule` shapes the rest of the phase; `decay` is
    the share of the steps in which `wsd` falls to zero."""

    kind: Literal["adamw"] = "adamw"
    lr: RatesConfig
    weight_decay: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    warmup: int = 0
    schedule: Literal["constant", "cosine", "wsd"] = "constant"
    decay: float = 0.1
    clip: float = 1.0


@config
class StepsConfig:
    """Durations in optimizer steps. `global_batch` clips per optimizer step, in `accumulate` equal micro-batches."""

    max: int
    global_batch: int
    accumulate: int = 1
    checkpoint_every: int
    keep: int = 2
    log_every: int = 10


@config
class EmaConfig:
    """Exponential average of what trains: decay min(`decay`, (1 + n) / (10 + n)) after n updates."""

    decay: float = 0.999


@config
class ValidationConfig:
    """Held-out loss at fixed noise in `bins` noise levels over `clips` clips, and `samples` sampled clips, `every` steps."""

    every: int
    clips: int = 16
    bins: int = 4
    samples: int = 2
    sampling_steps: int = 20
