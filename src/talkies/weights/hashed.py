"""Files that are hashed while they are written, in a second thread, a few MB in memory at a time."""

import errno
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

from talkies.config.records import open_regular
from talkies.config.regular_files import resolved
from talkies.signals.answer import check_signal
from talkies.weights.account import Kept

CHUNK = 1 << 20
AHEAD = 8
"""Chunks that may wait to be hashed."""
UNLINKED = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})
"""The errors of a hard link that a copy can replace."""
Entry = dict[str, Any]


def chunks_of(path: Path, begin: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from `begin` on. A chunk is valid until AHEAD + 1 more were taken: new memory for each would
    cost more than the copy."""
    buffers = [memoryview(bytearray(CHUNK)) for _ in range(AHEAD + 2)]
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        file.seek(begin)
        for buffer in cycle(buffers):
            check_signal()
            if not (count := file.readinto(buffer)):
                return
            yield buffer[:count]


def hashed(chunks: Iterable[bytes | memoryview], new: Path | None) -> Entry:
    """Write `chunks` to the path `new` (None: they are there already); its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as hasher, (new or Path(os.devnull)).open("wb", buffering=0) as file:
        for chunk in chunks:
            waiting.append(hasher.submit(digest.update, chunk))
            size += len(chunk)
            if new is not None:
                _write(file, chunk)
            if len(waiting) > AHEAD:
                waiting.popleft().result()
    return {"sha256": digest.hexdigest(), "size": size}


def _write(file: Any, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def placed(path: Path, new: Path, *, link: bool) -> tuple[Entry, bool]:
    """Copy the file `path` to `new`, or hard-link it; its entry, and whether it was linked."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(resolved(path), new)
        except OSError as error:
            if error.errno not in UNLINKED:
                raise
        else:
            return hashed(chunks_of(new), None), True
    return hashed(chunks_of(path), new), False


def written(kept: Kept, new: Path, *, link: bool) -> tuple[Entry, bool]:
    """Put a file of a component at `new`; its entry, and whether it was linked."""
    if kept.shard is None:
        return placed(kept.found.path, new, link=link)
    shard = kept.shard

    def chunks() -> Iterator[bytes | memoryview]:
        yield shard.header()
        if kept.begin is not None:  # only the header differs
            yield from chunks_of(kept.found.path, kept.begin)
            return
        for tensor in shard.tensors:
            yield from tensor.chunks()

    return hashed(chunks(), new), False
