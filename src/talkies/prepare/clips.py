"""One media file -> one clip to encode, or the reason why it is quarantined."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from talkies.codecs.prompt import LONGEST
from talkies.media.clipping import CROWDED, find_clipping
from talkies.media.colour import ColourError
from talkies.media.container import EndedError, MediaError
from talkies.media.frames import FPS_TOLERANCE
from talkies.media.loudness import gain_to
from talkies.media.orientation import OrientationError
from talkies.media.phase_cancellation import find_cancellation
from talkies.media.pixels import Treatment
from talkies.media.probe import MediaInfo
from talkies.media.sound import ChannelError
from talkies.media.timeline import Beginning
from talkies.prepare.items import Item
from talkies.prepare.plan import TOLERANCE, SetPlan
from talkies.prepare.reading import Reader

Reason = Literal[
    "undecodable",
    "no video",
    "no audio",
    "wrong fps",
    "too short",
    "broken stream",
    "colours",
    "orientation",
    "audio and video disagree",
    "sync unknown",
    "no channel",
    "channels cancel",
    "silent",
    "clipped",
    "no caption",
    "caption encoding",
    "caption too long",
    "not finite",
]

SILENCE = 1e-3
"""RMS below this (-60 dB) is silence."""
FAINT = 0.03
"""RMS (-30 dB) below which a mix is compared with its channels. Speech is louder."""
DAMAGED = 10.0
"""Times full scale; AAC of clipped sound overshoots to at most 2.3 (measured), a damaged frame to any value."""


class Rejected(Exception):  # noqa: N818 - not an error: preparation continues
    """A clip that is quarantined: `reason` is one of a closed list, `detail` has the measured values."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """A clip that passed: `frames` uint8 [F, 3, H, W], `samples` [S] fp32 of the whole window, of which `real` come
    from the file (the rest is silence). `limited`: the loudness target could not be reached; `late`: the window begins
    more than TOLERANCE after the file; `treated`: the treatments that its frames needed."""

    id: str
    caption: str
    frames: Tensor | None
    samples: Tensor | None
    real: int
    limited: bool
    late: bool
    treated: frozenset[Treatment]


def read_clip(item: Item, plan: SetPlan, reader: Reader) -> RawClip:
    """The first window of frames / fps seconds of a media file, with its caption. It begins where the file has
    everything that the set keeps: at its first complete picture that has sound.

    Raises Rejected for media that cannot be trained on. A shorter file is padded with silence if the set keeps sound
    only, or if its sound ends within the tolerance.
    """
    caption = read_caption(item.caption)
    info = _probed(item.media, plan, reader)
    try:
        begin = reader.beginning(item.media, plan.config.modalities)
        film = reader.film(item.media, plan.geometry, begin) if plan.video else None
        sound = reader.sound(item.media, plan.geometry, plan.sample_rate, begin, plan.channel) if plan.audio else None
        recorded = None
        if plan.audio and info.audio_rate:
            recorded = reader.sound(item.media, plan.geometry, info.audio_rate, begin, plan.channel)
    except EndedError as error:
        raise Rejected("too short", error.reason) from error
    except ChannelError as error:
        raise Rejected("no channel", error.reason) from error
    except MediaError as error:
        raise Rejected(_unfit(error, "broken stream"), error.reason) from error
    samples, real, limited = None, 0, False
    if sound is not None and recorded is not None:
        _check_sound(sound, plan, info)
        _check_level(item.media, sound, plan, info, begin)
        _check_clipping(recorded)
        real, window = len(sound), plan.geometry.samples(plan.sample_rate)
        if plan.config.lufs is not None:
            sound, limited = _levelled(sound, plan.sample_rate, plan.config.lufs)
        samples = torch.nn.functional.pad(sound, (0, window - real))
    if plan.config.duration_token:
        caption += f" Duration {real / plan.sample_rate:.1f} seconds."
    return RawClip(
        id=item.id,
        caption=caption,
        frames=film.pixels if film else None,
        samples=samples,
        real=real,
        limited=limited,
        late=begin.late > TOLERANCE,
        treated=film.treated if film else frozenset(),
    )


def _unfit(error: MediaError, otherwise: Reason) -> Reason:
    kinds: dict[type[MediaError], Reason] = {ColourError: "colours", OrientationError: "orientation"}
    return kinds.get(type(error), otherwise)


def read_caption(caption: str | Path) -> str:
    """The text without surrounding space. Raises Rejected if it is missing, empty, not UTF-8 text, or longer than
    LONGEST bytes; no more are read."""
    if isinstance(caption, Path):
        try:
            if caption.exists() and not caption.is_file():  # reading a pipe would block
                raise Rejected("no caption", f"{caption.name} is not a regular file")
            with caption.open("rb") as file:
                data = file.read(LONGEST + 1)
            _check_length(len(data), caption.stat().st_size)
            text = data.decode("utf-8-sig")
        except FileNotFoundError:
            raise Rejected("no caption", f"{caption.name} is missing") from None
        except UnicodeDecodeError as error:
            raise Rejected("caption encoding", f"{caption.name} is not UTF-8 ({error.reason})") from None
        except OSError as error:
            raise Rejected("no caption", f"{caption.name} cannot be read ({error.strerror})") from None
    else:
        text = caption
        _check_length(len(text), len(text))
    if "\0" in text:
        raise Rejected("caption encoding", "the caption contains a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # JSON can spell lone surrogates, which no text encoder accepts
        surrogate = ascii(text[error.start])
        raise Rejected(
            "caption encoding", f"the caption contains a lone surrogate ({surrogate}); write the whole character"
        ) from None
    _check_length(size, size)
    if not text.strip():
        raise Rejected("no caption", "the caption is empty")
    return text.strip()


def _check_length(read: int, size: int) -> None:
    if read > LONGEST:
        raise Rejected("caption too long", f"the caption has {size:,} bytes or more; at most {LONGEST:,} are read")


def _probed(path: Path, plan: SetPlan, reader: Reader) -> MediaInfo:
    """The streams of the file. Raises Rejected if the set needs more."""
    try:
        info = reader.probe(path)
    except MediaError as error:
        raise Rejected(_unfit(error, "undecodable"), error.reason) from error
    if plan.audio and info.audio_rate is None:
        raise Rejected("no audio", "it has no audio stream")
    if not plan.video:
        return info
    if info.fps is None:
        raise Rejected("no video", "it has no video stream")
    geometry = plan.geometry
    if abs(info.fps / geometry.fps - 1) > FPS_TOLERANCE:
        raise Rejected(
            "wrong fps",
            f"it runs at {info.fps:g} fps, the set at {geometry.fps:g}; convert it (ffmpeg -i IN -r {geometry.fps:g} "
            f"OUT), or make a set whose `geometry` ends with @{info.fps:g}",
        )
    if plan.audio and info.delayed and not plan.delayed:
        raise Rejected(
            "sync unknown",
            "AVI does not record the delay of its audio encoder, so the sound may be a frame late (measured: up to 23 "
            "ms, 77 ms in copies that begin elsewhere); use the original file, or set "
            f"`sources.{plan.config.source}.avi` to keep",
        )
    if info.frames is not None and info.frames < geometry.frames:
        raise Rejected("too short", f"it has {info.frames} frames, but a clip has {geometry.frames}")
    return info


def _check_sound(sound: Tensor, plan: SetPlan, info: MediaInfo) -> None:
    """Rejected for sound [S] that is missing, damaged, or ends before the pictures do."""
    seconds, whole = len(sound) / plan.sample_rate, float(plan.geometry.seconds)
    if plan.video and whole - seconds > TOLERANCE:
        raise Rejected(
            "audio and video disagree", f"its sound ends at {seconds:.3f} s, but its frames last {whole:.3f} s"
        )
    if len(sound) == 0:
        raise Rejected("no audio", f"its audio stream has no samples (it claims {info.audio_seconds} s)")
    if not bool(sound.isfinite().all()):
        raise Rejected("not finite", "its sound has samples that are not finite")
    peak = float(sound.abs().max())
    if peak > DAMAGED:
        raise Rejected("broken stream", f"its sound reaches {peak:.3g} times full scale, so it must be damaged")


def _check_level(path: Path, sound: Tensor, plan: SetPlan, info: MediaInfo, begin: Beginning) -> None:
    """Rejected for sound [S] that is silent, or whose channels cancel each other in the mix."""
    level = float(sound.square().mean().sqrt())
    if level < FAINT and plan.channel == "mix" and (info.audio_channels or 1) > 1:
        found = find_cancellation(path, begin=begin.seconds, seconds=plan.geometry.seconds)
        if found is not None and found.level >= SILENCE:
            raise Rejected(
                "channels cancel",
                f"the mix of its channels has an RMS of {found.mix:.1e}, channel {found.channel} alone "
                f"{found.level:.1e}; take one channel: `sources.{plan.config.source}.channel` = {found.channel}",
            )
    if level < SILENCE:
        seconds = len(sound) / plan.sample_rate
        raise Rejected("silent", f"its RMS over {seconds:.2f} s is {level:.1e}; it must be at least {SILENCE:g}")


def _levelled(sound: Tensor, sample_rate: int, target: float) -> tuple[Tensor, bool]:
    """Sound [S] at the loudness target, and whether its peak kept it below. Rejected if it has no loudness."""
    gain = gain_to(sound, sample_rate, target)
    if gain is None:
        raise Rejected("silent", "its loudness cannot be measured: no 0.4 s reach -70 LUFS, the gate of BS.1770")
    return sound * gain.factor, gain.limited


def _check_clipping(recorded: Tensor) -> None:
    """Rejected for sound [S] that was clipped; `recorded` has the file's own sample rate, since resampling hides it."""
    crowd = find_clipping(recorded)
    if crowd is not None:
        raise Rejected(
            "clipped",
            f"its samples accumulate at {crowd.level:.2f} of full scale, {crowd.ratio:.1f} times as many as just below "
            f"(at most {CROWDED:g} are allowed); use a recording that was not clipped",
        )
