"""From prompt to decoded clip: the code path that `sample`, validation and gates share."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talkies.config import CheckpointError, DataError
from talkies.flow.draw import gaussian
from talkies.flow.euler import euler
from talkies.flow.guidance import guided
from talkies.flow.schedule import sigma_grid
from talkies.flow.config import SamplingConfig
from talkies.generate.geometry import clip_shape, sample_count
from talkies.models.mova.image import image_condition
from talkies.streams import Grid, Modality
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.codec import Codecs, Media


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip to make. `image` [3, H, W] in [-1, 1] becomes its first frame; None means a white one (text only; MOVA,
    section 5.2). With the seed, `id` alone determines the initial noise."""

    prompt: str
    id: str
    image: Tensor | None = None


def generate(
    denoiser: Denoiser,
    codecs: Codecs,
    request: list[Request],
    sampling: SamplingConfig,
    *,
    grids: Mapping[Modality, Grid],
    fps: float,
    boundary: float,
    mask_channels: int,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> list[Media]:
    """One Media per request, on the CPU, made as one batch with the modalities in `grids`.

    `denoiser` runs on `device`, and the codecs get their inputs there; `progress` is called with the number of Euler
    steps done. With video, the sound is cut to the video's duration; without, it has the grid's.
    Raises DataError for an image or a grid that does not fit the codecs, ValueError for sampling values that cannot be
    used, CheckpointError for latents that are not finite.
    """
    assert request, "at least one request"
    assert grids, "at least one modality"
    _check(codecs, request, grids)
    samples_kept = _samples_kept(codecs, grids, fps)
    sigmas = {m: sigma_grid(sampling.steps, s) for m, s in _shifts(sampling).items() if m in grids}
    # Not inference_mode: training runs sample too, and what a network caches here (RoPE tables, FSDP's gathered
    # parameters) must remain usable in a later backward pass.
    with torch.no_grad():
        text = codecs.text.encode([r.prompt for r in request]).to(device)
        guide = guided(
            denoiser,
            null_text=codecs.text.encode([""]).to(device),
            text_scale=sampling.text_scale,
            bridge_scale=sampling.bridge_scale,
        )
        streams = _streams(codecs, request, grids, fps=fps, mask_channels=mask_channels, seed=seed, device=device)
        latents = euler(guide, streams, Condition(text=text), sigmas, boundary=boundary, on_step=progress)
        frames, samples = _decode(codecs, latents, samples_kept)
    return [
        Media(
            frames=None if frames is None else frames[i],
            fps=fps,
            samples=None if samples is None else samples[i],
            sample_rate=1 if codecs.audio is None else codecs.audio.sample_rate,
        )
        for i in range(len(request))
    ]


def _shifts(sampling: SamplingConfig) -> dict[Modality, float]:
    return {"video": sampling.video_shift, "audio": sampling.audio_shift}


def _check(codecs: Codecs, request: list[Request], grids: Mapping[Modality, Grid]) -> None:
    """Refuse invalid requests before anything is computed; warn of prompts that the text encoder truncates."""
    for modality, codec in (("video", codecs.video), ("audio", codecs.audio)):
        if modality in grids and codec is None:
            raise DataError(f"generating {modality} needs a {modality} codec; the recipe's codecs have none")
    for r in request:
        if r.image is not None and "video" not in grids:
            raise ValueError(f"request {r.id} has an image, but no video is generated; remove the image")
        if excess := codecs.text.overflow(r.prompt):
            warnings.warn(f"prompt of request {r.id} is too long: its last {excess} units are ignored", stacklevel=3)


def _samples_kept(codecs: Codecs, grids: Mapping[Modality, Grid], fps: float) -> int | None:
    """Samples of sound that last as long as the video; None unless both are generated."""
    if "video" not in grids or "audio" not in grids:
        return None
    assert codecs.video is not None
    assert codecs.audio is not None
    frames, _, _ = clip_shape(codecs.video, grids["video"], fps)
    return sample_count(codecs.audio, grids["audio"], frames, fps)


def _streams(
    codecs: Codecs,
    request: list[Request],
    grids: Mapping[Modality, Grid],
    *,
    fps: float,
    mask_channels: int,
    seed: int,
    device: torch.device | str,
) -> dict[Modality, Stream]:
    """The initial noise of every modality, and the first-frame condition of the video."""
    streams: dict[Modality, Stream] = {}
    ids, visits = [r.id for r in request], [0] * len(request)
    for m, grid in grids.items():
        noise = gaussian(seed, ids, visits, f"sample/{m}", grid.latent_shape).to(device)
        condition = None
        if m == "video":
            condition = image_condition(_image_latent(codecs, request, grid, fps, device), mask_channels)
        streams[m] = Stream(latent=noise, time=torch.ones(len(ids), device=device), grid=grid, condition=condition)
    return streams


def _image_latent(codecs: Codecs, request: list[Request], grid: Grid, fps: float, device: torch.device | str) -> Tensor:
    """The latent [B, C, T, h, w] of (first frame, then mid-grey frames), encoded whole (docs/mova.md: First frame)."""
    assert codecs.video is not None
    frames, height, width = clip_shape(codecs.video, grid, fps)
    clips = torch.zeros(len(request), frames, 3, height, width, device=device)
    for clip, r in zip(clips, request, strict=True):
        clip[0] = 1.0 if r.image is None else _first_frame(r.image, r.id, height, width)
    return codecs.video.encode(clips)


def _first_frame(image: Tensor, name: str, height: int, width: int) -> Tensor:
    if image.shape != (3, height, width):
        raise DataError(
            f"image of request {name} has shape {tuple(image.shape)}, but the grid needs (3, {height}, {width}); "
            "read it with talkies.generate.image.load_image"
        )
    if not bool(image.abs().max() <= 1):
        raise DataError(
            f"image of request {name} has values outside [-1, 1]: scale its 0..255 pixels by 1 / 127.5 and subtract 1"
        )
    return image


def _decode(
    codecs: Codecs, latents: Mapping[Modality, Tensor], samples_kept: int | None
) -> tuple[Tensor | None, Tensor | None]:
    """Frames [B, F, 3, H, W] and samples [B, S] on the CPU, in [-1, 1]; None for a modality that was not generated."""
    for m, latent in latents.items():
        if not bool(latent.isfinite().all()):
            raise CheckpointError(
                f"sampled {m} latents are not finite: the weights are damaged, or the guidance scales are too large"
            )
    frames = samples = None
    if "video" in latents:
        assert codecs.video is not None
        frames = codecs.video.decode(latents["video"]).float().clamp(-1, 1).cpu()
    if "audio" in latents:
        assert codecs.audio is not None
        samples = codecs.audio.decode(latents["audio"])[:, :samples_kept].float().clamp(-1, 1).cpu()
    return frames, samples
