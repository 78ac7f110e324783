"""One media file -> one clip to encode, or the reason why not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from talkies.codecs.prompt import LONGEST
from talkies.media.cancelling import find_cancelling
from talkies.media.clipping import CROWDED, find_clipping
from talkies.media.colour import ColourError
from talkies.media.container import EndedError, MediaError
from talkies.media.loudness import gain_to
from talkies.media.orientation import OrientationError
from talkies.media.pixels import Treatment
from talkies.media.read import MediaInfo
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

FPS_TOLERANCE = 1e-3
SILENCE = 1e-3
"""RMS below this (-60 dB) is silence."""
FAINT = 0.03
"""RMS below which (-30 dB) a mix is compared with its channels. Speech lies above it."""
DAMAGED = 10.0
"""Times full scale; AAC of clipped sound overshoots to 2.3 at most (measured), a damaged frame to anything."""


class Rejected(Exception):  # noqa: N818 - it is no error: preparation goes on
    """A clip that is quarantined: `reason` is one of a closed list, `detail` has the figures."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class RawClip:
    """A clip that passed: `frames` uint8 [F, 3, H, W], `samples` [S] fp32 of the whole window, of which `real` come
    from the file (the others are silence); `limited` where the loudness target could not be reached, `late` where the
    window leaves out more than TOLERANCE of the file's beginning; `treated` is what its frames needed."""

    id: str
    caption: str
    frames: Tensor | None
    samples: Tensor | None
    real: int
    limited: bool
    late: bool
    treated: frozenset[Treatment]


def read_clip(item: Item, plan: SetPlan, reader: Reader) -> RawClip:
    """The first window of frames / fps seconds of a media file (MOVA section 9), with its caption. It begins where
    the file has everything that the set keeps: with its first whole picture to which there is sound.

    Raises Rejected for media that cannot be trained on. A shorter file is padded with silence where the set keeps sound
    only, or where its sound ends within the tolerance.
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
    """The text without surrounding space. Raises Rejected where it is missing, empty, not UTF-8 text, or longer than
    LONGEST bytes, of which no more are read."""
    if isinstance(caption, Path):
        try:
            if caption.exists() and not caption.is_file():  # reading a pipe would wait for ever
                raise Rejected("no caption", f"{caption.name} is no file")
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
        raise Rejected("caption encoding", "the caption holds a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:  # JSON spells halves of surrogate pairs, which no text encoder takes
        odd = ascii(text[error.start])
        raise Rejected("caption encoding", f"the caption holds half a character ({odd}); write it whole") from None
    _check_length(size, size)
    if not text.strip():
        raise Rejected("no caption", "the caption is empty")
    return text.strip()


def _check_length(read: int, size: int) -> None:
    if read > LONGEST:
        raise Rejected("caption too long", f"the caption has {size:,} bytes or more, at most {LONGEST:,} are read")


def _probed(path: Path, plan: SetPlan, reader: Reader) -> MediaInfo:
    """What the file holds; Rejected where the set needs more."""
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
            "AVI does not say how much of its sound is the encoder's delay: it may be a frame late (measured: up to 23 "
            f"ms, of copies that begin elsewhere 77 ms); take its source, or set `sources.{plan.config.source}.avi` to "
            "keep",
        )
    if info.frames is not None and info.frames < geometry.frames:
        raise Rejected("too short", f"it has {info.frames} frames, a clip has {geometry.frames}")
    return info


def _check_sound(sound: Tensor, plan: SetPlan, info: MediaInfo) -> None:
    """Rejected for sound [S] that is missing, damaged, or ends before the pictures do."""
    seconds, whole = len(sound) / plan.sample_rate, float(plan.geometry.seconds)
    if plan.video and whole - seconds > TOLERANCE:
        raise Rejected(
            "audio and video disagree", f"its sound ends at {seconds:.3f} s, its {whole:.3f} s of frames go on"
        )
    if len(sound) == 0:
        raise Rejected("no audio", f"its audio stream has no samples (it claims {info.audio_seconds} s)")
    if not bool(sound.isfinite().all()):
        raise Rejected("not finite", "its sound has samples that are not finite")
    peak = float(sound.abs().max())
    if peak > DAMAGED:
        raise Rejected("broken stream", f"its sound reaches {peak:.3g} times full scale, so that it must be damaged")


def _check_level(path: Path, sound: Tensor, plan: SetPlan, info: MediaInfo, begin: Beginning) -> None:
    """Rejected for sound [S] that is silent, or that would not be if its channels did not cancel each other."""
    level = float(sound.square().mean().sqrt())
    if level < FAINT and plan.channel == "mix" and (info.audio_channels or 1) > 1:
        found = find_cancelling(path, begin=begin.seconds, seconds=plan.geometry.seconds)
        if found is not None and found.level >= SILENCE:
            raise Rejected(
                "channels cancel",
                f"the mix of its channels has an RMS of {found.mix:.1e}, channel {found.channel} alone "
                f"{found.level:.1e}; take one channel: `sources.{plan.config.source}.channel` = {found.channel}",
            )
    if level < SILENCE:
        seconds = len(sound) / plan.sample_rate
        raise Rejected("silent", f"its RMS over {seconds:.2f} s is {level:.1e}; at least {SILENCE:g} is needed")


def _levelled(sound: Tensor, sample_rate: int, target: float) -> tuple[Tensor, bool]:
    """Sound [S] at the loudness target, and whether its peak kept it below. Rejected where it has no loudness."""
    gain = gain_to(sound, sample_rate, target)
    if gain is None:
        raise Rejected("silent", "its loudness cannot be measured: no 0.4 s of it reach -70 LUFS, the gate of BS.1770")
    return sound * gain.factor, gain.limited


def _check_clipping(recorded: Tensor) -> None:
    """Rejected for sound [S] that was clipped; it is looked for at the file's own sample rate."""
    crowd = find_clipping(recorded)
    if crowd is not None:
        raise Rejected(
            "clipped",
            f"its samples crowd at {crowd.level:.2f} of full scale, {crowd.ratio:.1f} times as many as just below "
            f"(at most {CROWDED:g}); take a recording that was not clipped",
        )
