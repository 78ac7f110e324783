"""Determines from key-picture marks which pictures of a stream are complete, and which may fail to decode."""

from pathlib import Path
from typing import Any

from talkies.media.container import MediaError

INSIDE = "begins inside a group of pictures"
REENCODE = "cut it from its source with re-encoding (ffmpeg -ss START -i SOURCE -c:v libx264 -c:a aac OUT)"


class Keyframes:
    """The key pictures of a stream: a picture shown before the first one, or decoded without it, is not complete.

    `sure`: the codec's decoder itself knows which pictures are complete.
    """

    def __init__(self, path: Path | str, *, sure: bool) -> None:
        self.first: float | None = None
        self._path, self._sure = path, sure
        self._begun, self._hidden, self._open = sure, False, False
        self._marked = set[float]()

    def note(self, packet: Any, time: float | None) -> None:
        """Take the next packet into account; its picture is shown at `time`."""
        if self.first is None and time is not None:
            # An edit list may hide the reference pictures of those that it shows.
            self.first, self._hidden = time, packet.is_discard
        elif packet.is_keyframe:
            self._open = False
        elif self._sure and time is not None and self.first is not None and time < self.first:
            self._open = True
        if self._hidden and packet.is_keyframe and time is not None:
            self._marked.add(time)

    def whole(self, frame: Any) -> bool:
        """Whether a frame is complete. MediaError if libav applied an edit list at a wrong mark, so that times are
        wrong."""
        if frame.time in self._marked and not frame.key_frame and not self._sure:
            raise MediaError(
                self._path,
                "hides its beginning with an edit list and wrongly marks pictures as key pictures, so that their times "
                f"are unknown; {REENCODE}",
            )
        self._begun = self._begun or self._hidden or frame.key_frame
        return self._begun and (self.first is None or frame.time is None or frame.time >= self.first)

    def excuse(self, time: float | None) -> bool:
        """Whether a packet whose picture is shown at `time` may fail to decode: if it is before the first key picture.

        In an open group, the H.264 packets after it may order the decoder to drop references that are missing, which
        libav reports as an error. Their own pictures are complete, or their absence is detected later.
        """
        return time is not None and self.first is not None and (time < self.first or self._open)
