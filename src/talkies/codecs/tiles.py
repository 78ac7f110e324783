"""Coding in tiles: squares of a latent, or of pictures, are decoded or encoded on their own, and what is made of them
fades into each other where they overlap."""

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


def in_tiles(
    whole: Tensor, code: Callable[[Tensor], Tensor], *, size: int, overlap: int, given: int = 1, made: int = 1
) -> Tensor:
    """[C, T, h * given, w * given] -> [1, D, S, h * made, w * made], where `code` does the same for tiles of `size`
    latent pixels a side that have at least `overlap` in common. A latent pixel is `given` pixels of what is coded and
    `made` pixels of the result, which is on the device of what `code` returns, and bitwise `code(whole)` if one tile is
    enough."""
    sides = [side // given for side in whole.shape[-2:]]
    rows, columns = (begins(side, size, overlap) for side in sides)
    if len(rows) == len(columns) == 1:
        return code(whole)
    result = total = torch.empty(0)
    for top in rows:
        for left in columns:
            places = list(zip((top, left), sides, strict=True))
            down, across = _slices(places, size, given)
            tile = code(whole[..., down, across])
            if not result.numel():
                result = tile.new_zeros(*tile.shape[:3], *(side * made for side in sides))
                total = tile.new_zeros(result.shape[-2:])
            fades = [_weights(place, side, size, overlap, made).to(tile) for place, side in places]
            weights = fades[0][:, None] * fades[1]
            down, across = _slices(places, size, made)
            result[..., down, across] += tile * weights
            total[down, across] += weights
    return result.div_(total)


def _slices(places: list[tuple[int, int]], size: int, scale: int) -> tuple[slice, slice]:
    """The rows and columns of a tile, where a latent pixel is `scale` pixels."""
    rows, columns = (slice(place * scale, (place + size) * scale) for place, _ in places)
    return rows, columns


def _weights(begin: int, length: int, size: int, overlap: int, scale: int) -> Tensor:
    """Of the pixels of a tile along one side: 1, falling linearly over the overlap towards its neighbours."""
    size = min(size, length)
    place, fade = torch.arange(size * scale), overlap * scale + 1
    up = (place + 1) / fade if begin else torch.ones(size * scale)
    down = (size * scale - place) / fade if begin + size < length else torch.ones(size * scale)
    return torch.minimum(up, down).clamp(max=1)
