"""Encodes clips that passed (RawClip) into what a shard stores (Clip)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from talkies.data.clip import Clip
from talkies.prepare.clips import RawClip, Rejected
from talkies.prepare.plan import SetPlan
from talkies.streams import Grid, Modality
from talkies.streams.codec import Codecs


def signed(frames: Tensor) -> Tensor:
    """uint8 pixels -> fp32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def encode(
    clips: Sequence[RawClip], plan: SetPlan, codecs: Codecs, device: torch.device | str
) -> list[Clip | Rejected]:
    """Encode a batch of clips of one set, in order; a clip whose latents are not finite is returned as Rejected."""
    with torch.inference_mode():
        text = codecs.text.encode([clip.caption for clip in clips]).to("cpu")
        latents: dict[Modality, Tensor] = {}
        grids: dict[Modality, Grid] = {}
        image: Tensor | None = None
        if plan.video:
            latents["video"], image, grids["video"] = _video(clips, plan, codecs, device)
        if plan.audio:
            latents["audio"], grids["audio"] = _audio(clips, codecs, device)
    results: list[Clip | Rejected] = []
    for i, clip in enumerate(clips):
        bad = [m for m, latent in latents.items() if not bool(latent[i].isfinite().all())]
        if bad:
            results.append(Rejected("not finite", f"its {bad[0]} latent has values that are not finite"))
            continue
        results.append(
            Clip(
                id=clip.id,
                caption=clip.caption,
                latents={m: latent[i].clone() for m, latent in latents.items()},
                valid={m: _valid(m, clip, grids, codecs) for m in latents},
                grids=grids,
                image=None if image is None else image[i].clone(),
                text=text.embedding[i].clone(),
                text_length=int(text.length[i]),
            )
        )
    return results


def _video(
    clips: Sequence[RawClip], plan: SetPlan, codecs: Codecs, device: torch.device | str
) -> tuple[Tensor, Tensor, Grid]:
    """Latents of the frames, and of (first frame, then mid-grey), encoded whole (docs/mova.md: First frame)."""
    assert codecs.video is not None
    frames = torch.stack([signed(clip.frames) for clip in clips if clip.frames is not None]).to(device)
    still = torch.zeros_like(frames)
    still[:, 0] = frames[:, 0]
    size = plan.geometry
    grid = codecs.video.grid(size.frames, size.height, size.width, size.fps)
    return codecs.video.encode(frames).float().cpu(), codecs.video.encode(still).float().cpu(), grid


def _audio(clips: Sequence[RawClip], codecs: Codecs, device: torch.device | str) -> tuple[Tensor, Grid]:
    assert codecs.audio is not None
    samples = torch.stack([clip.samples for clip in clips if clip.samples is not None]).to(device)
    return codecs.audio.encode(samples).float().cpu(), codecs.audio.grid(samples.shape[1])


def _valid(modality: Modality, clip: RawClip, grids: dict[Modality, Grid], codecs: Codecs) -> int:
    """Latent steps with content of the file; partly filled steps count."""
    if modality == "video":
        return grids["video"].shape[0]
    assert codecs.audio is not None
    return codecs.audio.grid(clip.real).shape[0]
