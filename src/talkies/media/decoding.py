"""Decoding from the first whole picture and the first sample on, each with the time at which it is presented.

A file may begin anywhere: inside a group of pictures (cut without re-encoding, broadcast), or with pictures that refer
to one that was cut away (open GOP). What cannot be decoded there is passed over; later damage is an error.
"""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from talkies.media.container import MediaError

UNTIMED = "avi"
"""The container that says when packets are decoded, not when their pictures are shown."""


class _DamagedError(MediaError):
    """A packet or a frame that cannot be decoded."""


def pictures(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """(seconds in the file's own time, frame) of every picture, in the order in which they are shown.

    Begins with the first key picture: of what refers to pictures that are not there decoders make grey ones. Raises
    MediaError at the first damaged or undated picture, and where there is none to begin with.
    """
    packets = _from_key(container, stream, path)
    return _counted(packets, stream, path) if container.format.name == UNTIMED else _shown(packets, path)


def sounds(container: Any, stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """(seconds in the file's own time, frame) of all sound, in order.

    Raises MediaError at the first damaged or undated frame. Packets before the first that can be decoded may be what
    is left of one that was cut: they are an error only where nothing follows.
    """
    begun, failed = False, None
    for packet in container.demux(stream):
        try:
            for frame in _frames(packet, path):
                if frame.time is None:
                    raise MediaError(path, "its audio has no timestamps; remux it")
                begun = True
                yield frame.time, frame
        except _DamagedError as error:
            if begun:
                raise
            failed = failed or error
    if failed is not None and not begun:
        raise failed


def _from_key(container: Any, stream: Any, path: Path | str) -> Iterator[Any]:
    """The packets of a stream without those before its first key picture."""
    begun, passed = False, 0
    for packet in container.demux(stream):
        begun = begun or packet.is_keyframe
        if begun:
            yield packet
        passed += packet.size > 0
    if passed and not begun:
        raise MediaError(
            path,
            f"cannot be decoded: it begins inside a group of pictures, and none of its {passed} pictures is a key "
            "picture; cut it from its source with re-encoding",
        )


def _shown(packets: Iterator[Any], path: Path | str) -> Iterator[tuple[float, Any]]:
    """Pictures at their presentation times. Those before the first key picture refer to what is not there."""
    key: float | None = None
    last: Any = None
    for packet in packets:
        time = None if packet.pts is None else float(packet.pts * packet.time_base)
        key = time if key is None else key
        if packet.size == 0 and time is not None:  # Theora: the picture before is shown again
            if last is not None:
                yield time, last
            continue
        try:
            for frame in _frames(packet, path):
                if frame.time is None:
                    raise MediaError(path, "its video has no timestamps; remux it")
                if key is None or frame.time >= key:
                    last = frame
                    yield frame.time, frame
        except _DamagedError:
            if time is None or key is None or time >= key:
                raise


def _counted(packets: Iterator[Any], stream: Any, path: Path | str) -> Iterator[tuple[float, Any]]:
    """Pictures of AVI: the n-th is shown in the n-th slot, and again in every slot that is empty."""
    slots: deque[int] = deque()
    last: tuple[int, Any] | None = None
    for packet in packets:
        if packet.size:
            slots.append(packet.dts)
        for frame in _frames(packet, path):
            if last is None and packet.size and len(slots) - 1 > stream.codec_context.reorder_depth:
                raise MediaError(
                    path,
                    "begins inside a group of pictures, and AVI does not say when those that are left are shown; cut "
                    "it from its source with re-encoding",
                )
            slot = slots.popleft()
            if last is not None:
                for empty in range(last[0] + 1, slot):
                    yield float(empty * stream.time_base), last[1]
            last = slot, frame
            yield float(slot * stream.time_base), frame


def _frames(packet: Any, path: Path | str) -> Iterator[Any]:
    """What a packet completes; _DamagedError where it or a frame is damaged."""
    kind = packet.stream.type
    if packet.is_corrupt:
        raise _DamagedError(path, f"cannot be decoded (its {kind} is cut off or damaged)")
    try:
        frames = packet.decode()
    except av.FFmpegError as error:
        raise _DamagedError(path, f"cannot be decoded ({error.strerror or error})") from error
    for frame in frames:
        if frame.is_corrupt:
            raise _DamagedError(path, f"cannot be decoded (its {kind} is damaged at {frame.time} s)")
        yield frame
