"""The pictures of a media file outside of a window."""

from contextlib import suppress
from pathlib import Path

from talkies.media.container import MediaError, need_stream, opened
from talkies.media.decoding import pictures


def times_outside(path: Path | str, *, begin: float, end: float, fps: float, reach: float) -> list[float]:
    """When the pictures are shown that lie outside of [begin, end) by at most `reach`: seconds in the file's own time.

    Damage after the window ends the search: what lies before it is whole.
    """
    half, found = 0.5 / fps, list[float]()
    with opened(path) as container, suppress(MediaError):
        for time, _ in pictures(container, need_stream(container, "video", path), path):
            if time >= end + reach - half:
                break
            if begin - reach - half <= time < begin - half or time >= end - half:
                found.append(time)
    return found
