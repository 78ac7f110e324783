"""Held-out batches, and the clips that are decoded or sampled from them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from talkies.data.collate import collate
from talkies.data.shards import ShardSet
from talkies.generate.clip import Request, generate
from talkies.generate.config import SamplingConfig
from talkies.media.contact_sheet import contact_sheet, still
from talkies.media.write import write_mp4
from talkies.streams import Modality
from talkies.streams.batch import Batch, Denoiser
from talkies.streams.codec import Codecs, Media

BATCH = 16
FIRST = ".first.png"
"""Suffix of the first frame's file, in place of the clip's."""


def batches(shards: ShardSet, clips: int, modalities: Collection[Modality]) -> list[Batch]:
    """The first `clips` held-out clips with the given modalities, in batches, as of visit 0."""
    count = min(clips, len(shards))
    read = [shards.read(i, modalities) for i in range(count)]
    return [
        collate(read[i : i + BATCH], [0] * len(read[i : i + BATCH]), shards.null_text) for i in range(0, count, BATCH)
    ]


def first_frames(batch: Batch, codecs: Codecs) -> list[torch.Tensor | None]:
    """The decoded first frame of every clip, [3, H, W] in [-1, 1]; None without video."""
    if codecs.video is None or "video" not in batch.latents:
        return [None] * len(batch.ids)
    frames = codecs.video.decode(batch.latents["video"][:, :, :1])
    return [frame.clamp(-1, 1) for frame in frames[:, 0]]


def decoded(batch: Batch, codecs: Codecs, fps: float, *, seconds: float) -> list[Media]:
    """The clips of a batch, decoded from their latents: the ceiling of every metric."""
    frames = None if codecs.video is None else codecs.video.decode(batch.latents["video"]).clamp(-1, 1)
    rate = codecs.audio.sample_rate if codecs.audio is not None else 1
    samples = None if codecs.audio is None else codecs.audio.decode(batch.latents["audio"])[:, : round(seconds * rate)]
    return [
        Media(
            frames=None if frames is None else frames[i],
            fps=fps,
            samples=None if samples is None else samples[i],
            sample_rate=rate,
        )
        for i in range(len(batch.ids))
    ]


def sample_batch(
    denoiser: Denoiser, codecs: Codecs, batch: Batch, sampling: SamplingConfig, *, fps: float, **fixed: object
) -> list[Media]:
    """Generate one clip per caption and first frame of `batch`. `fixed`: further arguments of `generate`."""
    images = first_frames(batch, codecs)
    requests = [
        Request(prompt=caption, image=image, id=name)
        for caption, image, name in zip(batch.captions, images, batch.ids, strict=True)
    ]
    return generate(denoiser, codecs, requests, sampling, grids=batch.grids, fps=fps, **fixed)  # type: ignore[arg-type]


def write_samples(
    media: Sequence[Media], captions: Sequence[str], folder: Path, *, tags: Mapping[str, str]
) -> list[Path]:
    """Write an mp4, a contact sheet and the first frame of each clip to `folder`. Returns the mp4s and the sheets."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (clip, caption) in enumerate(zip(media, captions, strict=True)):
        path = folder / f"sample-{number:02d}.mp4"
        write_mp4(path, clip, tags={**tags, "title": caption[:200]})
        sheet = path.with_suffix(".png")
        contact_sheet(sheet, clip.frames, clip.samples, clip.sample_rate)
        written += [path, sheet]
        if clip.frames is not None:
            still(path.with_suffix(FIRST), clip.frames[0])
    return written
