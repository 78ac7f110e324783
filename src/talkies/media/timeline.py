"""The one time line of a file's pictures and its sound: when what is decoded is presented, in the file's own time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.media.container import EndedError, MediaError, find_stream, need_stream, opened
from talkies.media.decoding import pictures, sounds
from talkies.media.marks import INSIDE, REENCODE
from talkies.media.rates import frame_rate, held
from talkies.streams import MODALITIES, Modality

LATE = 0.05
"""Seconds by which sound may begin after the picture that it belongs to; they are filled with silence."""
MATROSKA = "matroska,webm"
HELD = 0.1
"""Seconds for which AVI may show its first picture longer than all others: writers round what encoders delay."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a window begins. All times are seconds in the file's own time.

    At `seconds` picture 0 is shown and sample 0 is heard. `picture` and `sound` are the first whole picture and the
    first sample, None where the window has none; `cut` is how long the pictures before the first whole one last, which
    refer to what is not in the file.
    """

    seconds: float
    picture: float | None
    sound: float | None
    cut: float = 0.0

    @property
    def late(self) -> float:
        """Seconds that the window leaves out at the file's beginning."""
        firsts = [] if self.picture is None else [self.picture - self.cut]
        return self.seconds - min(firsts if self.sound is None else [*firsts, self.sound])

    @property
    def reason(self) -> str:
        """Why the window leaves them out, for people; empty where nothing is missing."""
        reasons = []
        if self.cut:
            reasons.append(
                f"it begins inside a group of pictures, so that its first {self.cut:.3f} s cannot be decoded"
            )
        if self.picture is not None and self.sound is not None:
            apart = self.sound - self.picture
            if apart > LATE:
                reasons.append(f"its sound begins {apart:.3f} s after its first whole picture")
            elif -apart > LATE and not self.cut:
                reasons.append(f"its pictures begin {-apart:.3f} s after its sound")
        return " and ".join(reasons)


def find_beginning(path: Path | str, *, modalities: tuple[Modality, ...] = MODALITIES, after: float = 0.0) -> Beginning:
    """The first picture at which all `modalities` that the file has are there, or the picture `after` seconds later.

    Sound may begin up to LATE after that picture. Without pictures, the first sample. Raises MediaError for what cannot
    be decoded, EndedError (a MediaError) where no such picture is left.
    """
    sound = _first_sound(path) if "audio" in modalities else None
    if "video" in modalities:
        with opened(path) as container:
            if find_stream(container, "video") is not None:
                return _at_picture(container, path, sound, after)
    if sound is None:
        raise EndedError(path, f"has no {' and no '.join(modalities)}")
    return Beginning(seconds=sound + after, picture=None, sound=sound)


def _first_sound(path: Path | str) -> float | None:
    with opened(path) as container:
        if find_stream(container, "audio") is None:
            return None
        first = next(sounds(container, need_stream(container, "audio", path), path), None)
        return None if first is None else first[0]


def _at_picture(container: Any, path: Path | str, sound: float | None, after: float) -> Beginning:
    stream = need_stream(container, "video", path)
    half = 0.5 / float(frame_rate(stream, path))
    if sound is not None:
        _check_sound_is_in_place(container, stream, path)
    first, both = None, None
    for time, _ in pictures(container, stream, path):
        first = time if first is None else first
        both = time if both is None and (sound is None or time >= sound - LATE) else both
        if both is not None and time >= both + after - half:
            return Beginning(seconds=time, picture=first, sound=sound, cut=_cut(path, first))
    if first is not None and both is None and sound is not None:
        raise EndedError(
            path, f"its sound begins {sound - first:.3f} s after its first picture, when all pictures have been shown"
        )
    if first is None:
        raise EndedError(path, f"has no whole picture: it {INSIDE}, and no key picture follows; {REENCODE}")
    raise EndedError(path, f"has no picture after {after:g} s")


def _check_sound_is_in_place(container: Any, stream: Any, path: Path | str) -> None:
    """MediaError for files whose sound is known not to lie where they say."""
    if held(stream) > HELD:
        raise MediaError(
            path,
            f"its first picture is shown {held(stream):.3f} s longer than every other: its pictures or its sound were "
            "meant to begin later, and AVI does not say which; make it anew from its source, in another container",
        )
    if container.format.name == MATROSKA and (stream.start_time or 0) < 0:
        # libav reads no time below zero there and guesses: 8 to 25 ms were seen between pictures and Opus.
        early = float(-stream.start_time * stream.time_base)
        raise MediaError(
            path,
            f"its pictures begin {early:.3f} s before time 0; what Matroska says of such times cannot be read: cut it "
            "anew, without `-avoid_negative_ts disabled`",
        )


def _cut(path: Path | str, first: float) -> float:
    """Seconds from the file's first picture, whole or not, to the first whole one."""
    with opened(path) as container:
        packet = next(container.demux(need_stream(container, "video", path)))
        ticks = packet.dts if packet.pts is None else packet.pts
        return 0.0 if packet.is_keyframe or ticks is None else max(0.0, first - float(ticks * packet.time_base))
