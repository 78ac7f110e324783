"""Carries a stream of a file over into an mp4: packet by packet, or sample for sample.

PCM in mp4 (ISO 23003-5) does not play everywhere: browsers do not know it; libav 5.1 does not know float PCM and takes
96 kHz for 48; libav 8 refuses channels without names. FLAC holds the same samples, and all of these play it.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av

from talkies.media.container import MediaError, libav_errors
from talkies.media.lossless import Lossless

Medium = Literal["video", "audio"]
PCM = "pcm_"


class Carried:
    """A stream of the file `given` in the output `out`: `packets`, which begin at time 0, `start` seconds of the given
    file's own time. `notes`: what differs, complete when all packets have been taken."""

    def __init__(self, out: Any, source: Any, stream: Any, given: Path | str) -> None:
        """Raises MediaError if mp4 cannot hold the stream."""
        self.stream, self.given = stream, given
        self.start = float((stream.start_time or 0) * stream.time_base)
        self.lossless: Lossless | None = None
        codec = stream.codec_context.codec.name
        target, refused = None, None
        if stream.type == "video" or not codec.startswith(PCM):
            try:
                target = out.add_stream_from_template(stream)
            except (av.FFmpegError, ValueError) as error:
                refused = error
        if target is None and stream.type == "audio" and Lossless.holds(stream):
            self.lossless = Lossless(out, source, stream, given, start=self.start)
        elif target is None:
            raise not_held(stream, given, refused)
        self.packets = self._copied(source, target) if self.lossless is None else self.lossless.packets()

    @property
    def notes(self) -> tuple[str, ...]:
        """Texts about the given file."""
        return () if self.lossless is None else self.lossless.notes

    def _copied(self, source: Any, target: Any) -> Iterator[Any]:
        start = self.stream.start_time or 0
        with libav_errors(self.given, "decoded"):
            for packet in self._dated(packet for packet in source.demux(self.stream) if packet.size):
                if packet.pts is None or packet.dts is None:
                    raise not_held(self.stream, self.given, "some of its packets have no times")
                packet.pts, packet.dts = packet.pts - start, packet.dts - start
                packet.stream = target
                yield packet

    @staticmethod
    def _dated(packets: Iterator[Any]) -> Iterator[Any]:
        """With the decoding times of the first packets, which libav does not know if Matroska's pictures are
        reordered."""
        first = list[Any]()
        for packet in packets:
            first.append(packet)
            if packet.dts is not None:
                break
        for packet, following in reversed([*pairwise(first)]):
            if following.dts is not None:
                packet.dts = following.dts - max(1, packet.duration or 0)
        yield from first
        yield from packets


def not_held(stream: Any, given: Path | str, reason: object) -> MediaError:
    """That mp4 cannot hold a stream of the file `given`, for a `reason`."""
    name = stream.codec_context.codec.name
    return MediaError(
        given, f"its {stream.type} is {name}, which mp4 cannot hold ({reason}); convert it (ffmpeg -i IN OUT.mp4)"
    )
