"""Files that are hashed while they are written, several at once: hashing is slower than copying, and takes a core."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

from talkies.config.records import open_regular
from talkies.config.regular_files import resolved
from talkies.signals.answer import POLL_S, check_signal
from talkies.weights.account import Kept
from talkies.weights.finite import Bytes, finite
from talkies.weights.found import Found, read_found
from talkies.weights.pieces import Outgoing

CHUNK = 1 << 17
"""Bytes that are read, hashed and written at a time: they fit a core's cache."""
WORKERS = 4
UNLINKED = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})
"""The errors of a hard link that a copy can replace."""
Entry = dict[str, Any]
Placed = tuple[Entry, bool]
"""The entry of a file, and whether it was linked."""


def chunks_of(path: Path, begin: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from `begin` on. A chunk is valid until the next is taken."""
    buffer = memoryview(bytearray(CHUNK))
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        file.seek(begin)
        while count := file.readinto(buffer):
            check_signal()
            yield buffer[:count]


def at_once(jobs: Mapping[str, Callable[[Event], Placed]]) -> dict[str, Placed]:
    """The result of every job, several of which run at a time. The first failure, or a signal, ends the others: the
    event that they are given is set."""
    stop = Event()
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        running = {name: pool.submit(job, stop) for name, job in jobs.items()}
        try:
            left = set(running.values())
            while left:
                check_signal()
                done, left = wait(left, POLL_S)
                for future in done:
                    future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {name: future.result() for name, future in running.items()}


def hashed(chunks: Iterable[Bytes], new: Path | None, stop: Event) -> Entry:
    """Write `chunks` to the path `new` (None: they are there already); its sha256 and size. OSError once `stop` is
    set."""
    digest, size = hashlib.sha256(), 0
    with (new or Path(os.devnull)).open("wb", buffering=0) as file:
        for chunk in chunks:
            if stop.is_set():
                raise InterruptedError(f"stopped while {new} was written")
            digest.update(chunk)
            size += len(chunk)
            if new is not None:
                _write(file, chunk)
    return {"sha256": digest.hexdigest(), "size": size}


def _write(file: Any, data: Bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def placed(path: Path, new: Path, stop: Event, *, link: bool) -> Placed:
    """Copy the file `path` to `new`, or hard-link it. CheckpointError for a safetensors file with a NaN or an
    infinity."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(resolved(path), new)
        except OSError as error:
            if error.errno not in UNLINKED:
                raise
        else:
            return hashed(_checked(path), None, stop), True
    return hashed(_checked(path), new, stop), False


def _checked(path: Path) -> Iterator[Bytes]:
    """The bytes of a file; of weights, as they are checked."""
    if path.suffix != ".safetensors":
        return chunks_of(path)
    found = read_found(path)
    assert found.begin is not None
    return finite(chunks_of(path), _in_order(found), path, before=found.begin)


def _in_order(found: Found) -> list[Outgoing]:
    return [found.tensors[key] for key in found.order]


def written(kept: Kept, new: Path, stop: Event, *, link: bool) -> Placed:
    """Put a file of a component at `new`. CheckpointError for a NaN or an infinity in it."""
    if kept.shard is None:
        return placed(kept.found.path, new, stop, link=link)
    shard = kept.shard

    def chunks() -> Iterator[Bytes]:
        yield shard.header()
        if kept.begin is not None:  # only the header differs
            yield from finite(chunks_of(kept.found.path, kept.begin), _in_order(kept.found), kept.found.path)
            return
        for tensor in shard.tensors:
            yield from finite(tensor.chunks(), [tensor], kept.found.path)

    return hashed(chunks(), new, stop), False
