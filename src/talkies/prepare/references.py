"""References: a picture of a clip's file from outside of its window (Mirage, arXiv 2506.08279, section 3.6)."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from talkies.media.frames import read_film
from talkies.media.interlace_detection import Order
from talkies.media.outside import times_outside
from talkies.media.pixels import Treatment
from talkies.media.timeline import Beginning
from talkies.prepare.geometry import Geometry

REACH = 10.0
"""Seconds before and after the window in which a reference may lie: the person may be another one later."""


@dataclass(frozen=True, kw_only=True)
class Still:
    """A picture: `pixels` uint8 [3, H, W]; `start`: seconds from the window's beginning to it, negative if it is
    earlier; and the treatments that it needed."""

    pixels: Tensor
    start: float
    treated: frozenset[Treatment]


def read_still(path: Path, size: Geometry, begin: Beginning, name: str, order: Order | None) -> Still | None:
    """A picture outside of the window that begins at `begin`, drawn by the clip's name; None if there is none.

    `order`: the field order that was detected in the window. Raises MediaError if the picture cannot be read.
    """
    end = begin.seconds + float(size.seconds)
    times = times_outside(path, begin=begin.seconds, end=end, fps=size.fps, reach=REACH)
    if not times:
        return None
    time = times[_drawn(name, len(times))]
    at = Beginning(seconds=time, picture=time, sound=None)
    film = read_film(path, frames=1, fps=size.fps, height=size.height, width=size.width, begin=at, order=order)
    return Still(pixels=film.pixels[0], start=time - begin.seconds, treated=film.treated)


def _drawn(name: str, count: int) -> int:
    """A number below `count`, a function of the name alone."""
    digest = blake2b(name.encode(), digest_size=8, person=b"talkies.refers").digest()
    return int.from_bytes(digest, "little") % count
