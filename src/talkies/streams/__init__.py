"""The geometry of latents, without torch. Types that hold tensors are in `streams.batch` and `streams.codec`."""

from talkies.streams.grid import Grid

__all__ = ["Grid"]
