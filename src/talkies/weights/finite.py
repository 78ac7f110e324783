"""Weights that are NaN or infinite, found in the bytes of their file while these are copied.

A float is neither unless all bits of its exponent are set, so that one comparison of integers decides.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from talkies.config import CheckpointError
from talkies.config.quoting import shown
from talkies.weights.pieces import Outgoing

EXPONENTS = {
    "BF16": np.array(0x7F80, "<u2"),
    "F16": np.array(0x7C00, "<u2"),
    "F32": np.array(0x7F80_0000, "<u4"),
    "F64": np.array(0x7FF0_0000_0000_0000, "<u8"),
}
"""The bits of the exponent, by dtype; other dtypes are not checked."""
Bytes = bytes | memoryview


def finite(chunks: Iterable[Bytes], tensors: Sequence[Outgoing], path: Path, *, before: int = 0) -> Iterator[Bytes]:
    """`chunks`, each as soon as it is checked: `before` bytes of the file `path`, then those of `tensors`, in order.
    CheckpointError names the tensor that holds a NaN or an infinity, or says that the file has another size."""
    rest = iter(tensors)
    tensor, left, half = None, before, b""  # left: bytes of `tensor` to come; half: of a value that a chunk cuts
    for chunk in chunks:
        done = 0
        while done < len(chunk):
            while not left:
                tensor = next(rest, None)
                if tensor is None:
                    raise _changed(path)
                left = tensor.size
            part = chunk[done : done + left]
            done, left = done + len(part), left - len(part)
            if tensor is not None and tensor.dtype in EXPONENTS:
                half = _check(half, part, tensor, path)
        yield chunk
    if left or any(one.size for one in rest):
        raise _changed(path)


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(f"weights: {path} changed its size while it was read: import it again")


def _check(half: bytes, part: Bytes, tensor: Outgoing, path: Path) -> bytes:
    """Check `half` and `part`, one after the other; returns what remains after whole values."""
    exponent: Any = EXPONENTS[tensor.dtype]
    data = half + bytes(part) if half else part
    values = np.frombuffer(data, exponent.dtype, count=len(data) // exponent.itemsize)
    if len(values) and np.bitwise_and(values, exponent).max() == exponent:
        raise CheckpointError(
            f"weights: {path}: {shown(tensor.name)} holds a NaN or an infinity, and needed are finite weights: "
            "download it again, or give another file"
        )
    return bytes(data[values.nbytes :])
