"""Puts a stream of a file, unchanged, beside a stream that is encoded here."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import Any, Literal

import av

from talkies.files.durable import UNWRITABLE, replacing, storage_errors
from talkies.media.container import MediaError, need_stream, opened
from talkies.media.downmix import UNNAMED
from talkies.media.write import OPTIONS, Film, add_tags, check_media, encoders
from talkies.streams.codec import Media

Medium = Literal["video", "audio"]


def write_beside(
    path: Path | str, media: Media | Film, given: Path | str, medium: Medium, *, begin: float, tags: Mapping[str, str]
) -> None:
    """Write an mp4 with the `medium` stream of the file `given`, packet by packet as it is, and the other medium of
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
        storage_errors(path, refused=UNWRITABLE),
        replacing(path) as temporary,
        av.open(f"file:{temporary}", "w", format="mp4", container_options=OPTIONS) as out,
    ):
        add_tags(out, tags)
        stream = need_stream(source, medium, given)
        copied, (encoded,) = _copied(out, source, stream, given), encoders(out, made)
        start = float((stream.start_time or 0) * stream.time_base)
        later = (_shifted(packet, begin - start) for packet in encoded)
        for packet in merge(copied, later, key=lambda packet: packet.dts * packet.time_base):
            out.mux(packet)


def _other(media: Media | Film, given: Medium) -> Media | Film:
    """Without what is given."""
    if isinstance(media, Film):
        assert given == "audio", "a film has no sound"
        return media
    return replace(media, frames=None) if given == "video" else replace(media, samples=None)


def _copied(out: Any, source: Any, stream: Any, given: Path | str) -> Iterator[Any]:
    """Add a stream like `stream`; its packets, which begin at time 0."""
    try:
        target = out.add_stream_from_template(stream)
    except (av.error.FFmpegError, ValueError) as error:
        name = stream.codec_context.codec.name
        raise MediaError(
            given, f"its {stream.type} is {name}, which mp4 cannot hold ({error}); convert it (ffmpeg -i IN OUT.mp4)"
        ) from None
    if stream.type == "audio" and {channel.name for channel in stream.layout.channels} == {UNNAMED}:
        with suppress(
            ValueError
        ):  # mp4 needs names for PCM; players take the default layout of so many, if there is one
            target.layout = f"{stream.layout.nb_channels}c"
    start = stream.start_time or 0
    return _packets(source, stream, target, start)


def _packets(source: Any, stream: Any, target: Any, start: int) -> Iterator[Any]:
    for packet in source.demux(stream):
        if packet.dts is None:  # the end of the file
            continue
        packet.pts, packet.dts = packet.pts - start, packet.dts - start
        packet.stream = target
        yield packet


def _shifted(packet: Any, seconds: float) -> Any:
    ticks = round(seconds / packet.time_base)
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet
