"""The common timeline of a file's pictures and sound: presentation times in the file's own time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkies.media.container import EndedError, MediaError, find_stream, need_stream, opened
from talkies.media.decoding import pictures, sounds
from talkies.media.keyframes import INSIDE, REENCODE
from talkies.media.rates import first_excess, frame_rate

LATE = 0.05
"""Seconds by which sound may begin after the picture that it belongs to; silence fills them."""
MATROSKA = "matroska,webm"
FIRST_EXCESS = 0.1
"""Seconds by which AVI may show its first picture longer than the others: writers round the encoder's delay."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """The beginning of a window. All times are seconds in the file's own time.

    At `seconds`, picture 0 is shown and sample 0 is heard. `picture` and `sound` are the times of the first complete
    picture and the first sample, None if the window has none; `cut` is the duration of the pictures before the first
    complete one, whose references are missing from the file.
    """

    seconds: float
    picture: float | None
    sound: float | None
    cut: float = 0.0

    @property
    def late(self) -> float:
        """Seconds at the file's beginning that the window omits."""
        firsts = [] if self.picture is None else [self.picture - self.cut]
        return self.seconds - min(firsts if self.sound is None else [*firsts, self.sound])

    @property
    def reason(self) -> str:
        """Why the window omits them, as text for a message; empty if nothing is missing."""
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


def find_beginning(
    path: Path | str, *, modalities: tuple[str, ...] = ("video", "audio"), after: float = 0.0
) -> Beginning:
    """The first picture at which all `modalities` that the file has are present, or the picture `after` seconds later.

    Sound may begin up to LATE after that picture. Without pictures, the first sample. Raises MediaError if the file
    cannot be decoded, EndedError (a MediaError) if there is no such picture.
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
    """MediaError for files whose declared times of the sound are known to be wrong."""
    if first_excess(stream) > FIRST_EXCESS:
        raise MediaError(
            path,
            f"its first picture is shown {first_excess(stream):.3f} s longer than every other: its pictures or its "
            "sound should begin later, and AVI does not record which; remake it from its source in another container",
        )
    if container.format.name == MATROSKA and (stream.start_time or 0) < 0:
        # libav cannot read negative times here and guesses: errors of 8 to 25 ms between pictures and Opus were seen.
        early = float(-stream.start_time * stream.time_base)
        raise MediaError(
            path,
            f"its pictures begin {early:.3f} s before time 0, and negative times in Matroska cannot be read; cut it "
            "again, without `-avoid_negative_ts disabled`",
        )


def _cut(path: Path | str, first: float) -> float:
    """Seconds from the file's first picture, complete or not, to the first complete one."""
    with opened(path) as container:
        packet = next(container.demux(need_stream(container, "video", path)))
        ticks = packet.dts if packet.pts is None else packet.pts
        return 0.0 if packet.is_keyframe or ticks is None else max(0.0, first - float(ticks * packet.time_base))
