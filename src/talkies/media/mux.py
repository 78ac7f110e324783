"""Puts a stream of a file, unchanged, beside a stream that is encoded here."""

from collections.abc import Mapping
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import Any

import av

from talkies.files.durable import UNWRITABLE, replacing, storage_errors
from talkies.media.carried import Carried, Medium, not_held
from talkies.media.container import libav_errors, need_stream, opened
from talkies.media.write import OPTIONS, Pieces, add_tags, check_media, encoders
from talkies.streams.codec import Media


def write_beside(
    path: Path | str, media: Media | Pieces, given: Path | str, medium: Medium, *, begin: float, tags: Mapping[str, str]
) -> None:
    """Write an mp4 with the `medium` stream of the file `given` as `Carried` puts it there, and the other medium of
    `media` encoded as by `write_mp4`; only its packets on the way are in memory. The media begin at `begin` seconds of
    the given file's own time; `tags` become metadata.

    Raises MediaError if mp4 cannot hold the stream, StorageError if the disk is full or not writable, ValueError for
    media that mp4 cannot hold.
    """
    path = Path(path)
    made = _other(media, medium)
    check_media(made)
    with (
        opened(given) as source,
        libav_errors(path, "written"),  # errors of the given file are told by who reads it
        storage_errors(path, refused=UNWRITABLE),
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format="mp4", container_options=OPTIONS) as out,
    ):
        add_tags(out, tags)
        carried = Carried(out, source, need_stream(source, medium, given), given)
        (encoded,) = encoders(out, made)
        later = (_shifted(packet, begin - carried.start) for packet in encoded)
        for packet in merge(carried.packets, later, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def check_carried(given: Path | str, medium: Medium) -> tuple[str, ...]:
    """What `write_beside` must change of the `medium` stream of a file, found by writing all of it to nowhere.
    Raises MediaError if the file cannot be read, or if mp4 cannot hold the stream."""
    with opened(given) as source:
        stream = need_stream(source, medium, given)
        try:
            with av.open(Nowhere(), "w", format="mp4") as out:
                carried = Carried(out, source, stream, given)
                for packet in carried.packets:
                    out.mux(packet)
        except av.FFmpegError as error:
            raise not_held(stream, given, error.strerror or error) from error
    return carried.notes


class Nowhere:
    """A seekable file that keeps nothing."""

    def __init__(self) -> None:
        self.place = self.end = 0

    def write(self, data: bytes) -> int:
        """All of it is taken."""
        self.place += len(data)
        self.end = max(self.end, self.place)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """From the start, from here, or from the end."""
        self.place = offset + (0, self.place, self.end)[whence]
        return self.place

    def tell(self) -> int:
        """Bytes from the start."""
        return self.place


def _other(media: Media | Pieces, given: Medium) -> Media | Pieces:
    """Without what is given."""
    if isinstance(media, Pieces):
        assert given == "audio", "a film has no sound"
        return media
    return replace(media, frames=None) if given == "video" else replace(media, samples=None)


def _shifted(packet: Any, seconds: float) -> Any:
    ticks = round(seconds / packet.time_base)
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet
