"""Opens media files: which streams are used, and libav's errors as MediaError."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

from talkies.config import DataError

PLAYLISTS = ("concat", "dash", "hls", "imf")


class MediaError(DataError):
    """A media file that cannot be used; `reason` is the message without the path."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"media: {path}: {reason}")
        self.path, self.reason = Path(path), reason


class EndedError(MediaError):
    """A file that has fewer frames than are needed."""


class UnevenError(MediaError):
    """A film whose frames are not evenly spaced."""


@contextmanager
def opened(path: Path | str, **options: str) -> Iterator[Any]:
    """The av container of a local file; any libav error while it is open becomes a MediaError.

    `options` are libav's container options.
    """
    _check_file(path)
    # Without the prefix, a file named "concat:..." would select a protocol; playlists must not open other files either.
    source, allowed = f"file:{Path(path).absolute()}", {"protocol_whitelist": "file", **options}
    # Tags are often Latin-1, and their exact text does not matter.
    with libav_errors(path, "decoded"), av.open(source, options=allowed, metadata_errors="replace") as container:
        if container.format.name in PLAYLISTS:
            raise MediaError(path, "is a list of other files, not media; list those files instead")
        yield container


@contextmanager
def libav_errors(path: Path | str, done: str) -> Iterator[None]:
    """A libav error becomes a MediaError of the file that cannot be `done` (decoded, written)."""
    try:
        yield
    except av.FFmpegError as error:
        raise MediaError(path, f"cannot be {done} ({error.strerror or error})") from error


def _check_file(path: Path | str) -> None:
    """MediaError if it is not a regular file; opening a pipe would block."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        reason = "is a dangling link" if Path(path).is_symlink() else "the file does not exist"
        raise MediaError(path, reason) from None
    except (OSError, ValueError) as error:
        raise MediaError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        raise MediaError(path, "is a folder, not a file" if stat.S_ISDIR(mode) else "is not a regular file")


def find_stream(container: Any, kind: str) -> Any | None:
    """The best stream of a kind ("video", "audio"); cover art does not count. None if there is none."""
    stream = container.streams.best(kind)
    return None if stream is None or stream.disposition & Disposition.attached_pic else stream


def need_stream(container: Any, kind: str, path: Path | str) -> Any:
    """The stream, set to raise at the first damaged frame instead of concealing it; MediaError if there is none."""
    stream = find_stream(container, kind)
    if stream is None:
        raise MediaError(path, f"has no {kind} stream")
    if stream.codec_context is None:
        raise MediaError(path, f"its {kind} has an unsupported codec; convert it to H.264 and AAC")
    stream.codec_context.options = {"err_detect": "explode"}
    return stream
