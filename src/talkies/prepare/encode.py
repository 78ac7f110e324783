"""Encodes clips that passed (RawClip) into what a shard stores (Clip)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from talkies.data.clip import Caption, Clip, Latent
from talkies.prepare.clips import RawClip, Rejected
from talkies.prepare.plan import SetPlan
from talkies.streams.batch import Text
from talkies.streams.codec import Codecs
from talkies.streams.system import Stored


def signed(frames: Tensor) -> Tensor:
    """uint8 pixels -> fp32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def encode(
    clips: Sequence[RawClip], plan: SetPlan, codecs: Codecs, device: torch.device | str
) -> list[Clip | Rejected]:
    """Encode a batch of clips of one set, in order; a clip whose latents are not finite is returned as Rejected."""
    with torch.inference_mode():
        captions = [clip.caption for clip in clips]
        texts = {name: codecs.text[codec].encode(captions).to("cpu") for name, codec in plan.texts.items()}
        latents = {name: _latents(clips, stream, codecs, device) for name, stream in plan.streams.items()}
    results: list[Clip | Rejected] = []
    for i, clip in enumerate(clips):
        bad = [name for name, values in latents.items() if not bool(values[i].isfinite().all())]
        if bad:
            results.append(Rejected("not finite", f"its {bad[0]} latent has values that are not finite"))
            continue
        streams = {
            name: Latent(
                values=values[i].clone(),
                grid=plan.grids[name],
                valid=_valid(clip, plan.streams[name], codecs, plan.grids[name].shape[0]),
            )
            for name, values in latents.items()
        }
        captioned = {name: _caption(clip, text, i) for name, text in texts.items()}
        results.append(Clip(id=clip.id, streams=streams, texts=captioned))
    return results


def _latents(clips: Sequence[RawClip], stream: Stored, codecs: Codecs, device: torch.device | str) -> Tensor:
    """What a stream stores of the clips, [B, C, *shape] fp32 on the CPU."""
    if (audio := codecs.audio.get(stream.codec)) is not None:
        samples = torch.stack([clip.samples for clip in clips if clip.samples is not None]).to(device)
        return audio.encode(samples).float().cpu()
    frames = torch.stack([signed(clip.frames) for clip in clips if clip.frames is not None]).to(device)
    if stream.of == "first frame":  # followed by mid-grey, encoded whole (docs/mova.md: First frame)
        still = torch.zeros_like(frames)
        still[:, 0] = frames[:, 0]
        frames = still
    return codecs.video[stream.codec].encode(frames).float().cpu()


def _valid(clip: RawClip, stream: Stored, codecs: Codecs, steps: int) -> int:
    """Latent steps with content of the file; partly filled steps count."""
    audio = codecs.audio.get(stream.codec)
    return steps if audio is None else audio.grid(clip.real).shape[0]


def _caption(clip: RawClip, text: Text, row: int) -> Caption:
    """Only the rows with content are stored: most captions are much shorter than the text encoder's length."""
    length = int(text.length[row])
    assert not bool(text.embedding[row, length:].any()), "a text encoder zeroes what lies past its length"
    return Caption(caption=clip.caption, features=text.embedding[row, :length].clone())
