"""Random numbers that are pure functions of (seed, sample id, visit, name).

There is no generator state: a sample draws the same noise in any batch, order, worker, rank and world size, and after
any resume. The four values are hashed to 128 bits; a uniform number uses 53 of them, and Gaussian numbers come from
numpy's counter-based Philox keyed with all of them. (torch's CPU generator keeps only 32 bits of its seed: among 2**16
samples, two would probably share their noise.)
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from json import dumps
from math import prod

import numpy as np
import torch
from torch import Tensor

KEY_BITS = 128
UNIFORM_BITS = 53


def _keys(seed: int, ids: Sequence[str], visits: Sequence[int], name: str) -> Iterator[int]:
    """One 128-bit key per sample. JSON delimits the values, so different draws never hash the same message."""
    for sample, visit in zip(ids, visits, strict=True):
        message = dumps([seed, sample, visit, name]).encode()
        digest = blake2b(message, digest_size=KEY_BITS // 8, person=b"talkies.draw").digest()
        yield int.from_bytes(digest, "little")


def uniform(seed: int, ids: Sequence[str], visits: Sequence[int], name: str) -> Tensor:
    """U[0, 1) per sample, [B] fp64 on the CPU: multiples of 2**-53, so 1 is never drawn."""
    high = [key >> (KEY_BITS - UNIFORM_BITS) for key in _keys(seed, ids, visits, name)]
    return torch.tensor([bits * 2.0**-UNIFORM_BITS for bits in high], dtype=torch.float64)


def gaussian(seed: int, ids: Sequence[str], visits: Sequence[int], name: str, shape: Sequence[int]) -> Tensor:
    """N(0, 1) per sample, [B, *shape] fp32 on the CPU."""
    drawn = np.empty((len(ids), prod(shape)), dtype=np.float32)
    for row, key in zip(drawn, _keys(seed, ids, visits, name), strict=True):
        np.random.Generator(np.random.Philox(key=key)).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(drawn).view(len(ids), *shape)


def shuffled(
    seed: int, ids: Sequence[str], visits: Sequence[int], name: str, shape: Sequence[int], *, order: str | None = None
) -> Tensor:
    """N(0, 1) [B, *shape], shape (C, T, ...): that of `gaussian` at visit 0, but at another visit its T steps lie in an
    order of that visit's own, the same for all draws with that name of the `order` (None: this draw's)."""
    found = gaussian(seed, ids, [0] * len(ids), name, shape)
    places = gaussian(seed, ids, visits, order or f"{name}/order", (shape[1],)).argsort(1)
    rows = [drawn if not visit else drawn[:, steps] for drawn, steps, visit in zip(found, places, visits, strict=True)]
    return torch.stack(rows)
