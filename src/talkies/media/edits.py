"""Edit lists of MP4 and QuickTime: when libav presents what they show, put right.

An edit may begin while a picture is shown (cut without re-encoding, at any time). libav moves the first picture that it
keeps to the beginning of the edit, up to one picture too early, but leaves the sound where it is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talkies.media.container import MediaError, opened

EDITED = "mov"
PLAIN = {"advanced_editlist": "0"}
"""libav's option to read all of the material, moved in time as a whole to where the first edit puts it."""
EXACT = 1e-4
"""Seconds; time scales are coarser than this, and rounding is finer."""


class Edits:
    """How late the pictures of a stream are shown after libav's time, in seconds: `late`, once the first has been read.

    Raises MediaError where a file plays several pieces of its material: each joint would be wrong by as much.
    """

    def __init__(self, container: Any, path: Path | str) -> None:
        self.late = 0.0
        self._edited, self._path = EDITED in container.format.name.split(","), path

    def noted(self, packets: Iterator[Any], index: int) -> Iterator[Any]:
        """The packets of the stream with that index."""
        if not self._edited:
            yield from packets
            return
        with opened(self._path, **PLAIN) as plain:
            compared = iter(plain.demux(plain.streams[index]))
            begun = False
            for packet in packets:
                if packet.size and not packet.is_discard:
                    begun = self._compare(packet, compared, begun=begun)
                yield packet

    def _compare(self, packet: Any, compared: Iterator[Any], *, begun: bool) -> bool:
        """Find the packet in `compared`; whether times are known from here on."""
        same = next((other for other in compared if other.pos == packet.pos), None)
        if same is not None and (packet.pts is None or same.pts is None):
            return begun
        late = None if same is None else float((same.pts - packet.pts) * packet.time_base)
        if late is None or (begun and abs(late - self.late) > EXACT):
            raise MediaError(
                self._path,
                "its edit list plays several pieces of its material, whose pictures cannot be placed exactly; make it "
                "one piece by re-encoding it (ffmpeg -i SOURCE -c:v libx264 -c:a aac OUT)",
            )
        self.late = late
        return True
