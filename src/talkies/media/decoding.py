"""Decodes from the first complete picture and the first sample on, each with its presentation time.

A file may begin anywhere: inside a group of pictures (cut without re-encoding, broadcast), or with pictures that refer
to one that was cut away (open GOP). Undecodable pictures at the beginning are skipped; later damage is an error.
"""

from collections import deque
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import Any

import av

from talkies.media.container import MediaError
from talkies.media.decoders import Decode, default_decode, picture_decoder
from talkies.media.edit_lists import EditList
from talkies.media.keyframes import INSIDE, REENCODE, Keyframes
from talkies.media.rates import SLOTTED, first_slot, slots_each

ONCE = "asf"
"""The container with a single time per packet: libav takes it as the decoding time and guesses the presentation time,
wrongly if pictures are not reordered."""


UNMARKED = ("cfhd", "flashsv", "flashsv2", "msrle", "msvideo1", "qtrle", "roqvideo", "rpza", "smc", "svq1")
"""Decoders that do not mark key pictures, like libvpx: the container's marks are used instead."""


class _DamagedError(MediaError):
    """A packet or a frame that cannot be decoded."""


def pictures(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """(seconds in the file's own time, frame) of every picture, in presentation order.

    Begins with the first key picture: decoders render pictures grey if their references are missing. Raises MediaError
    at the first picture that is damaged or has no time.
    """
    edit_list = EditList(container, path)
    for time, frame in _whole_pictures(edit_list.noted(container.demux(stream), stream.index), container, stream, path):
        yield time + edit_list.late, frame


def _whole_pictures(
    demuxed: Iterator[Any], container: Any, stream: Any, path: Path | str
) -> Iterator[tuple[float, Any]]:
    packets = _from_key(_dated(demuxed, container, stream), path)
    codec = stream.codec_context.codec
    # Containers may mark packets wrongly. H.264 may have no key pictures, but its decoder knows which are complete.
    decode = picture_decoder(stream, path)
    sure = codec.intra_only or codec.name in ("h264", *UNMARKED) or decode is not default_decode
    if container.format.name != SLOTTED:
        return _shown(packets, decode, Keyframes(path, sure=sure), path)
    counted = _counted(packets, stream, path)
    return counted if sure else dropwhile(lambda shown: not shown[1].key_frame, counted)


def sounds(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """(seconds in the file's own time, frame) of all sound, in order.

    Raises MediaError at the first frame that is damaged or has no time. Undecodable packets at the beginning may be the
    rest of one that was cut; they are an error only if nothing follows. AVI cannot record an audio encoder's delay
    (23 ms for MP3 at 48 kHz; writers shift the pictures by whole slots instead, or not at all): its sound is as late as
    in players.
    """
    begun, failed = False, None
    for packet in container.demux(stream):
        try:
            for frame in _decoded(packet, path):
                time = _time(frame, stream, path)
                begun = True
                yield time, frame
        except _DamagedError as error:
            if begun:
                raise
            failed = failed or error
    if failed is not None and not begun:
        raise failed


def _from_key(packets: Iterator[Any], path: Path | str) -> Iterator[Any]:
    """The packets of a stream without those before its first key picture."""
    begun, count = False, 0
    for packet in packets:
        begun = begun or packet.is_keyframe
        if begun:
            yield packet
        count += packet.size > 0
    if count and not begun:
        raise MediaError(
            path,
            f"cannot be decoded: it {INSIDE}, and none of its {count} pictures is a key picture; {REENCODE}",
        )


def _dated(packets: Iterator[Any], container: Any, stream: Any) -> Iterator[Any]:
    """The packets, with presentation times as far as these are known."""
    unordered = container.format.name == ONCE and not stream.codec_context.reorder_depth
    for packet in packets:
        if unordered:
            packet.pts = packet.dts
        yield packet


def _shown(
    packets: Iterator[Any], decode: Decode, keyframes: "Keyframes", path: Path | str
) -> Iterator[tuple[float, Any]]:
    """Pictures at their presentation times."""
    last: Any = None
    for packet in packets:
        time = None if packet.pts is None else float(packet.pts * packet.time_base)
        if packet.size == 0 and time is not None:  # Theora: the previous picture is repeated
            if last is not None:
                yield time, last
            continue
        keyframes.note(packet, time)
        try:
            frames = _decoded(packet, path, decode)
        except _DamagedError as error:
            if keyframes.excuse(time):
                continue
            if last is None:
                raise _DamagedError(path, f"{error.reason}; it is damaged, or {INSIDE}; {REENCODE}") from error
            raise
        for frame in frames:
            if keyframes.whole(frame):
                shown, last = _time(frame, packet.stream, path), frame
                yield shown, frame


def _counted(packets: Iterator[Any], stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """Pictures of AVI, which records when packets are decoded, not when they are shown: the n-th picture is shown in
    the n-th slot, and repeated in every empty slot; if each fills several slots, it is shown in the first of them."""
    slots: deque[int] = deque()
    each, late = slots_each(stream) or 1, first_slot(stream)
    last: tuple[int, Any] | None = None
    for packet in packets:
        if packet.size and packet.dts is not None:
            slots.append(packet.dts + late)
            late = 0
        for frame in _decoded(packet, path):
            if last is None and packet.size and len(slots) - 1 > stream.codec_context.reorder_depth:
                raise MediaError(path, f"{INSIDE}, and AVI does not record when the others are shown; {REENCODE}")
            if not slots:
                raise MediaError(path, "has more pictures than its index; remux it")
            _whole(frame, stream, path)
            slot = slots.popleft()
            if last is not None:
                for empty in range(last[0] + each, slot, each):
                    yield float(empty * stream.time_base), last[1]
            last = slot, frame
            yield float(slot * stream.time_base), frame


def _decoded(packet: Any, path: Path | str, decode: Decode = default_decode) -> list[Any]:
    """The frames that a packet completes; _DamagedError if it is damaged."""
    if packet.is_corrupt:
        raise _DamagedError(path, f"cannot be decoded (its {packet.stream.type} is cut off or damaged)")
    try:
        frames = decode(packet)
    except av.FFmpegError as error:
        raise _DamagedError(path, f"cannot be decoded ({error.strerror or error})") from error
    return frames


def _time(frame: Any, stream: Any, path: Path | str) -> float:
    """The presentation time of a frame; MediaError if it has none, or if the frame is damaged."""
    _whole(frame, stream, path)
    if frame.time is None:
        raise MediaError(path, f"its {stream.type} has no timestamps; remux it")
    return float(frame.time)


def _whole(frame: Any, stream: Any, path: Path | str) -> None:
    if frame.is_corrupt:
        raise _DamagedError(path, f"cannot be decoded (its {stream.type} is damaged at {frame.time} s)")
