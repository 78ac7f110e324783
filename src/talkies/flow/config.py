"""Recipe keys of the objective and of sampling."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field, Tag

from talkies.config import config
from talkies.config.numbers import Draws, NonNegative, Positive, Rows, Share, Side
from talkies.config.schema import added, by_name
from talkies.config.tagged import BY_KIND, PLAIN

SHIFT, SCALE = 5.0, 1.0


@config
class ShiftedSchedule:
    """sigma(u) = s u / (1 + (s - 1) u) with a shift s per stream: 5 for those that `shifts` does not name; 1 is
    uniform."""

    kind: Literal["shifted"] = "shifted"
    shifts: dict[str, Positive] = by_name(default=SHIFT)

    def shift(self, stream: str) -> float:
        """The shift of a stream."""
        return self.shifts.get(stream, SHIFT)


@config
class UniformSchedule:
    """sigma(u) = u, for all streams."""

    kind: Literal["uniform"] = "uniform"


Threshold = Annotated[float, Field(gt=0, lt=0.5)]


@config
class LinearQuadraticSchedule:
    """Movie Gen's schedule (arXiv 2410.13720): for half of the draws sigma falls linearly from 1 by `threshold`, for
    the others quadratically to 0. The same for all streams."""

    kind: Literal["linear_quadratic"] = "linear_quadratic"
    threshold: Threshold = 0.025


@config
class LinearQuadraticGridSchedule:
    """Only the noise levels of a sampler with `steps` steps along `linear_quadratic`, each equally often."""

    kind: Literal["linear_quadratic_grid"] = "linear_quadratic_grid"
    threshold: Threshold = 0.025
    steps: Draws = 64


@config
class UniformGridSchedule:
    """Only the noise levels 1 / steps, 2 / steps ... 1, each equally often: the timesteps of a discrete diffusion."""

    kind: Literal["uniform_grid"] = "uniform_grid"
    steps: Draws = 1000


ScheduleConfig = Annotated[
    ShiftedSchedule | UniformSchedule | UniformGridSchedule | LinearQuadraticSchedule | LinearQuadraticGridSchedule,
    Field(discriminator="kind"),
]
GridSchedule = LinearQuadraticGridSchedule | UniformGridSchedule
"""Schedules that have `steps` noise levels, and no others."""


@config
class VelocityTarget:
    """Rectified flow: x = (1 - t) data + t noise, and the network predicts dx/dt = noise - data."""

    kind: Literal["velocity"] = "velocity"


@config
class VPredictionTarget:
    """Variance-preserving diffusion: x = cos(pi t / 2) data + sin(pi t / 2) noise, and the network predicts
    v = cos(pi t / 2) noise - sin(pi t / 2) data (arXiv 2202.00512)."""

    kind: Literal["v_prediction"] = "v_prediction"


Beta = Annotated[float, Field(gt=0, lt=1)]
Timesteps = Annotated[int, Field(ge=2, le=10_000)]


@config
class ZeroSnrVPredictionTarget:
    """v-prediction, as above, on the path of CogVideoX (arXiv 2408.06072), which has `steps` timesteps: number i, from
    0, is the noise level t = (i + 1) / steps. The square roots of the betas rise evenly from that of `beta_start` to
    that of `beta_end`; `snr_shift` divides the signal-to-noise ratio; then sqrt(alpha bar) is shifted and scaled so
    that the last timestep is noise alone (arXiv 2305.08891, algorithm 1). Between timesteps sqrt(alpha bar) is linear
    in t (our choice)."""

    kind: Literal["zero_snr_v_prediction"] = "zero_snr_v_prediction"
    beta_start: Beta = 0.00085
    beta_end: Beta = 0.012
    steps: Timesteps = 1000
    snr_shift: Positive = 1.0


TargetConfig = Annotated[VelocityTarget | VPredictionTarget | ZeroSnrVPredictionTarget, Field(discriminator="kind")]


@config
class UniformWeighting:
    """Every noise level has the same weight."""

    kind: Literal["uniform"] = "uniform"


@config
class CosmapWeighting:
    """2 / (pi (1 - 2 t + 2 t^2)): more weight in the middle (arXiv 2403.03206, section 3.1)."""

    kind: Literal["cosmap"] = "cosmap"


WeightingConfig = Annotated[UniformWeighting | CosmapWeighting, Field(discriminator="kind")]


@config
class FlowConfig:
    """The objective; t = 1 is noise. `schedule`: the noise levels of u ~ U(0, 1); `shared`: all streams of a sample
    have one u; `target`: the path and what the network predicts on it; `weighting`: of the loss, by noise level."""

    schedule: ScheduleConfig = ShiftedSchedule()
    shared: bool = False
    target: TargetConfig = VelocityTarget()
    weighting: WeightingConfig = UniformWeighting()


@config
class EulerSampler:
    """Euler steps along a velocity."""

    kind: Literal["euler"] = "euler"


@config
class DdimSampler:
    """DDIM without added noise (arXiv 2010.02502), for v-prediction."""

    kind: Literal["ddim"] = "ddim"


@config
class DpmSdeSampler:
    """DPM-Solver++(2M) of the SDE (arXiv 2211.01095), for v-prediction: of second order from one evaluation a step, and
    with new noise at every step but the last."""

    kind: Literal["dpm_sde"] = "dpm_sde"


SamplerConfig = Annotated[EulerSampler | DdimSampler | DpmSdeSampler, Field(discriminator="kind")]


@config
class AnnealedScale:
    """A guidance scale that goes along a half cosine: first + (last - first) (1 - cos(pi a)) / 2.

    With the share r of the steps that is done, a = 1 - (1 - r^late)^early. `early` 5 alone is the form of EchoMimicV3
    (arXiv 2507.03905), `late` 5 alone that of CogVideoX (arXiv 2408.06072).
    """

    kind: Literal["annealed"] = "annealed"
    first: NonNegative
    last: NonNegative
    early: Positive = added(default=1.0)
    late: Positive = added(default=1.0)

    def __str__(self) -> str:
        """As a recipe writes it."""
        values = [(key.name, getattr(self, key.name), key.default) for key in fields(self)]
        kept = [f"{name}: {value}" for name, value, default in values if name == "kind" or value != default]
        return f"{{{', '.join(kept)}}}"


Scale = Annotated[Annotated[NonNegative, PLAIN] | Annotated[AnnealedScale, Tag("annealed")], BY_KIND]
Layer = Annotated[int, Field(ge=0, lt=10_000)]


@config
class SkipLayerConfig:
    """Skip-layer guidance (STG, arXiv 2411.18664): `scale` times the difference from an evaluation that passes through
    the blocks `layers` is added. `rescale`: the share by which the result then gets the deviation of the evaluation
    with all conditions."""

    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    scale: Positive = 1.0
    rescale: Share = 0.0


@config
class ReuseConfig:
    """What the late steps, from the share `after` of all on, take from earlier ones (after FasterCache, arXiv
    2410.19355). `attention_every`: self-attention is computed at every n-th step; `branches_every`: so are the
    evaluations of guidance besides the one with all conditions, from which their last difference is kept. 1: always."""

    after: Share = 0.3
    attention_every: Draws = 1
    branches_every: Draws = 1


@config
class WindowsConfig:
    """A video for a sound longer than a clip is made in windows. Each begins about `overlap` seconds before the end of
    the one before, and goes on from the frames there; 0: windows know nothing of each other. `noise` of a window:
    `own`, or `shuffled`, that of the first with its latent steps in another order, so that what noise alone decides
    stays the same (FreeNoise, arXiv 2310.15169)."""

    overlap: NonNegative = 0.5
    noise: Literal["shuffled", "own"] = "shuffled"


Offload = Literal["none", "component", "block"]
"""Which weights of a model lie in host memory while it samples: none; those of the components and codecs that are not
at work; or also those of blocks, but for the one that computes and the next."""


@config
class TilesConfig:
    """Pictures are encoded and decoded in squares of `size` pixels, neighbours of which have at least `overlap` in
    common and fade into each other there. Both are multiples of the video codec's block; the overlap is at most half of
    the size."""

    size: Side
    overlap: Annotated[int, Field(ge=0, le=4096)] = 64


@config
class SamplingConfig:
    """`steps` of a sampler along a schedule. `scales`: guidance by condition, constant or annealed; 1, the value of
    those that are not named, is off. The system defines the conditions and what each scale multiplies. `skip_layer`
    and `reuse`: none if they are not given. Without `windows`, a longer sound is cut. `batch`: the most evaluations,
    clips times branches of guidance, that go through the network at once; at 1, the clips that are made together and
    one branch. Without `tiles`, a picture is coded as a whole. `offload`: weights in host memory."""

    steps: Draws = 50
    schedule: ScheduleConfig = ShiftedSchedule()
    sampler: SamplerConfig = EulerSampler()
    scales: dict[str, Scale] = by_name(default=SCALE)
    skip_layer: SkipLayerConfig | None = added(default=None)
    reuse: ReuseConfig | None = added(default=None)
    windows: WindowsConfig | None = added(default=None)
    offload: Offload = added(default="none")
    batch: Rows = added(default=1)
    tiles: TilesConfig | None = added(default=None)

    @property
    def tile_sides(self) -> tuple[int, int] | None:
        """The size and the overlap of tiles, in pixels."""
        return None if self.tiles is None else (self.tiles.size, self.tiles.overlap)


SAMPLERS = {
    "velocity": ("euler",),
    "v_prediction": ("ddim", "dpm_sde"),
    "zero_snr_v_prediction": ("ddim", "dpm_sde"),
}
"""Kind of a target -> the kinds of the samplers that can use its predictions."""


def fits(sampler: SamplerConfig, target: TargetConfig) -> bool:
    """Whether a sampler can use the predictions of a network that was trained on a target."""
    return sampler.kind in SAMPLERS[target.kind]
