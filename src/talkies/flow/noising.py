"""From a batch to the inputs and targets of a training step: times, noise, noisy latents, targets, dropped captions."""

from typing import NamedTuple

from torch import Tensor

from talkies.flow.config import FlowConfig
from talkies.flow.draw import gaussian, uniform
from talkies.flow.objective import expert_range, interpolate, velocity
from talkies.flow.schedule import shift
from talkies.streams import Modality
from talkies.streams.batch import Batch, Text


class Noised(NamedTuple):
    """Per modality, on the latents' device, fp32: `times` [B] in [0, 1]; the others shaped like the latents."""

    times: dict[Modality, Tensor]
    noise: dict[Modality, Tensor]
    noisy: dict[Modality, Tensor]
    targets: dict[Modality, Tensor]


def noised(batch: Batch, flow: FlowConfig, *, seed: int, boundary: float, expert: int | None) -> Noised:
    """Draw u ~ U(0, 1) per sample and modality, shift it, and noise the latents to that level (MOVA, section 4.5).

    With an `expert`, the video's u is restricted to the levels that the expert serves at `boundary`. The audio's u is
    not restricted: the paper does not say, so this is our choice. With `times: shared` both are one u, restricted as
    the video's. Raises ValueError for an expert without video in the batch.
    """
    if expert is not None and "video" not in batch.latents:
        raise ValueError(f"video expert {expert} cannot train on clips with {', '.join(batch.latents)} only")
    drawn = Noised({}, {}, {}, {})
    for m, latent in batch.latents.items():
        levels = _levels(batch, flow, m, seed=seed, boundary=boundary, expert=expert).to(latent.device)
        noise = gaussian(seed, batch.ids, batch.visits, f"noise/{m}", latent.shape[1:]).to(latent.device)
        drawn.times[m], drawn.noise[m] = levels, noise
        drawn.noisy[m], drawn.targets[m] = interpolate(latent, noise, levels), velocity(latent, noise)
    return drawn


def _levels(
    batch: Batch, flow: FlowConfig, modality: Modality, *, seed: int, boundary: float, expert: int | None
) -> Tensor:
    """Noise levels of one modality, [B] fp32."""
    shared = flow.times == "shared"
    u = uniform(seed, batch.ids, batch.visits, "time/shared" if shared else f"time/{modality}")
    if expert is not None and (modality == "video" or shared):
        low, high = expert_range(expert, boundary, flow.video.shift)
        u = low + (high - low) * u
    return shift(u, (flow.video if modality == "video" else flow.audio).shift).float()


def dropped_text(batch: Batch, *, seed: int, rate: float) -> Text:
    """The captions' features, each replaced by the empty caption's with probability `rate`.

    Raises ValueError if `rate` is not a probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"text dropout {rate}: it must lie between 0 and 1; set phase.text_dropout")
    keep = uniform(seed, batch.ids, batch.visits, "dropout/text") >= rate
    return batch.text.where(keep.to(batch.text.embedding.device), batch.null_text)
