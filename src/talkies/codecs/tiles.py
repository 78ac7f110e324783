"""Decoding in tiles: squares of a latent are decoded on their own, and fade into each other where they overlap."""

from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor


def begins(length: int, size: int, overlap: int) -> list[int]:
    """Where the fewest tiles of `size` begin that cover `length` with at least `overlap` in common, evenly spaced."""
    if size >= length:
        return [0]
    count = ceil((length - overlap) / (size - overlap))
    return [round(index * (length - size) / (count - 1)) for index in range(count)]


def in_tiles(latent: Tensor, decode: Callable[[Tensor], Tensor], *, size: int, overlap: int, block: int) -> Tensor:
    """[C, T, h, w] -> [1, 3, F, h * block, w * block], where `decode` does the same for tiles of `size` latent pixels a
    side that have at least `overlap` in common. The result is on the device of what `decode` returns, and bitwise
    `decode(latent)` if one tile is enough."""
    sides = latent.shape[-2:]
    rows, columns = (begins(side, size, overlap) for side in sides)
    if len(rows) == len(columns) == 1:
        return decode(latent)
    film = total = torch.empty(0)
    for top in rows:
        for left in columns:
            tile = decode(latent[..., top : top + size, left : left + size])
            if not film.numel():
                film = tile.new_zeros(*tile.shape[:3], *(side * block for side in sides))
                total = tile.new_zeros(film.shape[-2:])
            places = [(place, side) for place, side in zip((top, left), sides, strict=True)]
            down, across = (_weights(place, side, size, overlap, block).to(tile) for place, side in places)
            there = tuple(slice(place * block, (place + size) * block) for place, _ in places)
            film[..., there[0], there[1]] += tile * (down[:, None] * across)
            total[there] += down[:, None] * across
    return film.div_(total)


def _weights(begin: int, length: int, size: int, overlap: int, block: int) -> Tensor:
    """Of the pixels of a tile along one side: 1, falling linearly over the overlap towards its neighbours."""
    size = min(size, length)
    place, fade = torch.arange(size * block), overlap * block + 1
    up = (place + 1) / fade if begin else torch.ones(size * block)
    down = (size * block - place) / fade if begin + size < length else torch.ones(size * block)
    return torch.minimum(up, down).clamp(max=1)
