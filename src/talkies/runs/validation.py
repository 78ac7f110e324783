"""Held-out batches, and the clips that are decoded or sampled from them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from talkies.data.collate import collate
from talkies.data.shards import ShardSet
from talkies.evaluation.heldout import heldout_loss
from talkies.flow.config import SamplingConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.media.contact_sheet import contact_sheet, still
from talkies.media.write import write_mp4
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.streams.batch import Batch, Denoiser
from talkies.streams.codec import Media
from talkies.streams.system import System

BATCH = 16
FIRST = ".first.png"
"""Suffix of the first frame's file, in place of the clip's."""
PLAYED = ".m4a"
"""Suffix of sounds that are heard in MLflow."""
TITLE = 200
"""Characters."""


def batches(shards: ShardSet, clips: int, streams: Collection[str]) -> list[Batch]:
    """The first `clips` held-out clips with the given streams, in batches, as of visit 0."""
    count = min(clips, len(shards))
    read = [shards.read(i, streams) for i in range(count)]
    return [
        collate(read[i : i + BATCH], [0] * len(read[i : i + BATCH]), shards.null_texts) for i in range(0, count, BATCH)
    ]


def heldout_losses(recipe: PhaseRecipe, denoiser: Denoiser, batches: Sequence[Batch], *, seed: int) -> dict[str, float]:
    """The held-out losses of a recipe's model over batches on its device."""
    system = recipe.system
    return heldout_loss(
        denoiser,
        batches,
        recipe.flow,
        parts(recipe).targets,
        inputs=partial(system.network().inputs, recipe),
        inactive=parts(recipe).inactive,
        bins=recipe.validation.bins,
        seed=seed,
    )


def captions(batch: Batch, system: System) -> list[str]:
    """What a batch's clips are called by: the caption of each, or its id without one."""
    return [_caption(batch, system, row) or name for row, name in enumerate(batch.ids)]


def _caption(batch: Batch, system: System, row: int) -> str:
    """The line that the texts of a clip came from; nothing if there are none."""
    texts = {name: captions[row] for name, captions in batch.captions.items()}
    return system.captions.joined(texts) if texts else ""


def first_frames(batch: Batch, model: Generator) -> list[torch.Tensor | None]:
    """The decoded first frame of every clip, [3, H, W] in [-1, 1]; None without video."""
    name = model.stream_of("video")
    if name is None:
        return [None] * len(batch.ids)
    frames = model.codecs.video[model.codec_of(name)].decode(batch.streams[name].latent[:, :, :1])
    return [frame.clamp(-1, 1) for frame in frames[:, 0]]


def conditions(batch: Batch, model: Generator) -> dict[str, Tensor]:
    """The latents of a batch that a model takes as they are stored, by stream."""
    stored = model.system.stored(model.setup.codecs)
    return {
        name: batch.streams[name].latent
        for name in model.grids
        if name not in model.targets and stored[name].of != "first frame"
    }


def real_of(batch: Batch, stream: str, row: int) -> int:
    """Latent steps of a clip's stream that are not padding."""
    return int(batch.streams[stream].valid[row].sum())


def lasts(batch: Batch, model: Generator, row: int) -> float | None:
    """Seconds of a clip's sound without its padding, for a model that chooses how long a sound is made; None if it is
    as long as all."""
    name = model.stream_of("audio")
    if name is None or batch.streams[name].mask is None or model.shape is not None:
        return None
    caption = _caption(batch, model.system, row)
    timed = model.system.captions.seconds(model.setup.model, caption) is not None
    return real_of(batch, name, row) / float(batch.grids[name].rate) if timed else None


def requests_of(batch: Batch, model: Generator) -> list[Request]:
    """One request per clip of a batch: its captions, first frame and conditions, without their padding."""
    images = first_frames(batch, model) if model.first_frame else [None] * len(batch.ids)
    latents = conditions(batch, model)
    starts = {name: start for name in latents if (start := batch.streams[name].start) is not None}
    return [
        Request(
            prompts={text: captions[i] for text, captions in batch.captions.items()},
            image=images[i],
            id=clip,
            latents={name: _real(batch, model, name, latent[i], i) for name, latent in latents.items()},
            seconds=lasts(batch, model, i),
            starts={name: float(start[i]) for name, start in starts.items()},
        )
        for i, clip in enumerate(batch.ids)
    ]


def _real(batch: Batch, model: Generator, name: str, latent: Tensor, row: int) -> Tensor:
    """The latents of a clip's condition: of a passage, what is not padding."""
    stored = model.system.stored(model.setup.codecs)[name]
    return latent[:, : real_of(batch, name, row)] if stored.of == "passage" else latent


def decoded(batch: Batch, model: Generator, *, seconds: float, tiles: tuple[int, int] | None = None) -> list[Media]:
    """The clips of a batch, decoded from their latents, with `tiles` as made ones are: the ceiling of every metric."""
    video, frames = model.stream_of("video"), None
    if video is not None:
        frames = model.codecs.film(model.codec_of(video), batch.streams[video].latent, tiles).clamp(-1, 1)
    clips = [
        Media(frames=None if frames is None else frames[i], fps=model.fps, samples=None, sample_rate=1)
        for i in range(len(batch.ids))
    ]
    return with_sound(clips, batch, model, seconds=seconds)


def with_sound(clips: Sequence[Media], batch: Batch, model: Generator, *, seconds: float) -> list[Media]:
    """`clips`, made for a batch or decoded from it, with the batch's own sound; unchanged if it has none."""
    name = model.heard
    if name is None:
        return list(clips)
    codec = model.codecs.sound(model.codec_of(name))
    samples = codec.decode(batch.streams[name].latent)[:, : round(seconds * codec.sample_rate)]
    found = []
    for row, clip in enumerate(clips):
        lasting = lasts(batch, model, row)
        end = None if lasting is None else round(lasting * codec.sample_rate)
        found.append(replace(clip, samples=samples[row, :end], sample_rate=codec.sample_rate))
    return found


def sample_batch(
    model: Generator,
    batch: Batch,
    sampling: SamplingConfig,
    *,
    seed: int,
    seconds: float,
) -> list[Media]:
    """Generate one clip per caption, first frame and conditions of `batch`. A model that makes no sound is heard with
    the batch's own."""
    made = generate(model, requests_of(batch, model), sampling, seed=seed)
    return made if model.stream_of("audio") is not None else with_sound(made, batch, model, seconds=seconds)


def write_samples(
    media: Sequence[Media], titles: Sequence[str], folder: Path, *, tags: Mapping[str, str]
) -> list[Path]:
    """Write an mp4 (an m4a of sound alone), a contact sheet and the first frame of each clip to `folder`. Returns the
    clips and the sheets."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (clip, title) in enumerate(zip(media, titles, strict=True)):
        path = folder / f"sample-{number:02d}{PLAYED if clip.frames is None else '.mp4'}"
        write_mp4(path, clip, tags={**tags, "title": title[:TITLE]})
        sheet = path.with_suffix(".png")
        contact_sheet(sheet, clip.frames, clip.samples, clip.sample_rate)
        written += [path, sheet]
        if clip.frames is not None:
            still(path.with_suffix(FIRST), clip.frames[0])
    return written
