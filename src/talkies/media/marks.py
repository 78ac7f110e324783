"""Which pictures of a stream are whole, and which may fail, by the marks of its key pictures."""

from pathlib import Path
from typing import Any

from talkies.media.container import MediaError

INSIDE = "begins inside a group of pictures"
REENCODE = "cut it from its source with re-encoding (ffmpeg -ss START -i SOURCE -c:v libx264 -c:a aac OUT)"


class Marks:
    """The key pictures of a stream: what is shown before the first of them, or decoded without it, is not whole.

    `sure`: the codec's decoder knows itself which pictures are whole.
    """

    def __init__(self, path: Path | str, *, sure: bool) -> None:
        self.first: float | None = None
        self._path, self._sure = path, sure
        self._begun, self._hidden, self._open = sure, False, False
        self._marked = set[float]()

    def note(self, packet: Any, time: float | None) -> None:
        """The next packet, whose picture is shown at `time`."""
        if self.first is None and time is not None:
            # An edit list may hide the pictures that those which it shows refer to.
            self.first, self._hidden = time, packet.is_discard
        elif packet.is_keyframe:
            self._open = False
        elif self._sure and time is not None and self.first is not None and time < self.first:
            self._open = True
        if self._hidden and packet.is_keyframe and time is not None:
            self._marked.add(time)

    def whole(self, frame: Any) -> bool:
        """Whether a frame is. MediaError where an edit list was applied by a wrong mark, so that times are wrong."""
        if frame.time in self._marked and not frame.key_frame and not self._sure:
            raise MediaError(
                self._path,
                "hides its beginning by an edit list, but marks pictures as key pictures that are none, so that nobody "
                f"knows when they are shown; {REENCODE}",
            )
        self._begun = self._begun or self._hidden or frame.key_frame
        return self._begun and (self.first is None or frame.time is None or frame.time >= self.first)

    def excuse(self, time: float | None) -> bool:
        """Whether a packet whose picture is shown at `time` may fail: before the first key picture.

        In an open group H.264's first ones after that are told to forget pictures that are not there, which libav takes
        for an error. Their own pictures come out whole, or are missed later.
        """
        return time is not None and self.first is not None and (time < self.first or self._open)
