"""Encodes clips that passed (RawClip) into what a shard stores (Clip)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from talkies.codecs.geometry import steps_of
from talkies.codecs.long_sound import features
from talkies.data.clip import Caption, Clip, Latent
from talkies.prepare.clips import RawClip
from talkies.prepare.passages import Passage
from talkies.prepare.plan import SetPlan
from talkies.prepare.rejection import Rejected
from talkies.prepare.sounds import RawSound
from talkies.prepare.tracks import RawTrack
from talkies.streams.batch import Text
from talkies.streams.codec import Codecs
from talkies.streams.system import Stored


def signed(frames: Tensor) -> Tensor:
    """uint8 pixels -> fp32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def encode(
    clips: Sequence[RawClip], plan: SetPlan, codecs: Codecs, device: torch.device | str
) -> list[Clip | Rejected]:
    """Encode a batch of clips of one set, in order; a clip whose latents are not finite, or whose script is too long
    for a text encoder, is returned as Rejected."""
    with torch.inference_mode():
        written = {name: [plan.system.captions.written(name, clip.caption) for clip in clips] for name in plan.texts}
        texts = {name: codecs.text[codec].encode(written[name]).to("cpu") for name, codec in plan.texts.items()}
        latents = {name: _latents(clips, name, plan, codecs, device) for name in plan.streams}
    results: list[Clip | Rejected] = []
    for i, clip in enumerate(clips):
        bad = [name for name, values in latents.items() if not bool(values[i].isfinite().all())]
        if bad:
            results.append(Rejected("not finite", f"its {bad[0]} latent has values that are not finite"))
            continue
        if (why := _too_long(clip.caption, plan, codecs)) is not None:
            results.append(Rejected("script", why))
            continue
        streams = {
            name: Latent(
                values=values[i].clone(),
                grid=plan.grids[name],
                valid=_valid(clip, plan.streams[name], codecs, plan.grids[name].shape[0]),
                start=_start(clip, plan.streams[name]),
            )
            for name, values in latents.items()
        }
        captioned = {name: _caption(written[name][i], text, i) for name, text in texts.items()}
        results.append(Clip(id=clip.id, streams=streams, texts=captioned))
    return results


def _too_long(caption: str, plan: SetPlan, codecs: Codecs) -> str | None:
    """By how much a text encoder would cut the script of a caption: words that are not read would still be heard."""
    captions = plan.system.captions
    for name, codec in plan.texts.items():
        if captions.said(name, caption) and (excess := codecs.text[codec].overflow(captions.written(name, caption))):
            return f"too long by {excess} units for `codecs.{codec}`; shorten it"
    return None


def _latents(clips: Sequence[RawClip], name: str, plan: SetPlan, codecs: Codecs, device: torch.device | str) -> Tensor:
    """What a stream stores of the clips, [B, C, *shape] fp32 on the CPU."""
    stream = plan.streams[name]
    if stream.codec in plan.hearing:
        return torch.stack([_heard(clip, stream, plan, codecs, device) for clip in clips])
    if (audio := codecs.audio.get(stream.codec)) is not None:
        sounds = [_sound(clip, stream) for clip in clips]
        samples = torch.stack([sound.samples for sound in sounds if sound is not None]).to(device)
        return audio.encode(samples).float().cpu()
    video = codecs.video[stream.codec]
    if stream.of == "reference":
        stills = torch.stack([signed(clip.reference.pixels) for clip in clips if clip.reference is not None])
        return video.encode(stills.to(device)[:, None].expand(-1, video.still_frames, -1, -1, -1)).float().cpu()
    frames = torch.stack([signed(clip.frames) for clip in clips if clip.frames is not None]).to(device)
    if stream.of == "first frame":  # followed by mid-grey, encoded whole (docs/mova.md: First frame)
        still = torch.zeros_like(frames)
        still[:, 0] = frames[:, 0]
        frames = still
    return video.encode(frames).float().cpu()


def _sound(clip: RawClip, stream: Stored) -> RawSound | RawTrack | Passage | None:
    """The sound that a stream stores: the clip's, a track of it, or a passage of its file's."""
    if stream.track is not None:
        return clip.tracks[stream.track]
    return clip.passage if stream.of == "passage" else clip.sound


def _heard(clip: RawClip, stream: Stored, plan: SetPlan, codecs: Codecs, device: torch.device | str) -> Tensor:
    """The features [C, T] fp32 of a clip's window: a slice of those of its file."""
    assert clip.sound is not None, "a set with sound reads it"
    codec = stream.codec
    heard = clip.sound if stream.track is None else clip.tracks[stream.track]
    around, config = heard.around[codec], plan.hearing[codec]
    window = range(around.first, around.first + steps_of(config, len(clip.sound.samples)))
    return features(codecs.audio[codec], config, around.samples.to(device), window=window).float().cpu()


def _start(clip: RawClip, stream: Stored) -> float | None:
    outside = {"reference": clip.reference, "passage": clip.passage}.get(stream.of)
    return None if outside is None else outside.start


def _valid(clip: RawClip, stream: Stored, codecs: Codecs, steps: int) -> int:
    """Latent steps with content of the file; partly filled steps count."""
    if (audio := codecs.audio.get(stream.codec)) is None:
        return steps
    sound = clip.passage if stream.of == "passage" else clip.sound
    assert sound is not None, "the plan checked that the set keeps sound"
    return audio.grid(sound.real).shape[0]


def _caption(caption: str, text: Text, row: int) -> Caption:
    """Only the rows with content are stored: most captions are much shorter than the text encoder's length."""
    length = int(text.length[row])
    assert not bool(text.embedding[row, length:].any()), "a text encoder zeroes what lies past its length"
    return Caption(caption=caption, features=text.embedding[row, :length].clone())
