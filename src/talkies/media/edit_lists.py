"""Corrects libav's presentation times for edit lists of MP4 and QuickTime.

An edit may begin while a picture is shown (cut without re-encoding, at any time). libav moves the first picture that it
keeps to the beginning of the edit, up to one picture too early, but does not move the sound.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talkies.media.container import MediaError, opened

EDITED = "mov"
PLAIN = {"advanced_editlist": "0"}
"""libav's option to read all of the material, shifted as a whole to the beginning of the first edit."""
EXACT = 1e-4
"""Tolerance in seconds: finer than any time scale, coarser than rounding."""


class EditList:
    """The delay of a stream's pictures after libav's time, in seconds: `late`, known once the first has been read.

    Raises MediaError if a file plays several pieces of its material: the times after each joint would be wrong, too.
    """

    def __init__(self, container: Any, path: Path | str) -> None:
        self.late = 0.0
        self._edited, self._path = EDITED in container.format.name.split(","), path

    def noted(self, packets: Iterator[Any], index: int) -> Iterator[Any]:
        """The packets of the stream `index`; sets `late`."""
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
        """Find the packet in `compared` and set `late`; returns whether it is known."""
        same = next((other for other in compared if other.pos == packet.pos), None)
        if same is not None and (packet.pts is None or same.pts is None):
            return begun
        late = None if same is None else float((same.pts - packet.pts) * packet.time_base)
        if late is None or (begun and abs(late - self.late) > EXACT):
            raise MediaError(
                self._path,
                "its edit list plays several pieces of its material, whose pictures cannot be placed exactly; "
                "re-encode it as one piece (ffmpeg -i SOURCE -c:v libx264 -c:a aac OUT)",
            )
        self.late = late
        return True
