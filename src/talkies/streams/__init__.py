"""Modalities and latent grids, without torch. Types that hold tensors are in `streams.batch` and `streams.codec`."""

from talkies.streams.grid import MODALITIES, Grid, Modality

__all__ = ["MODALITIES", "Grid", "Modality"]
