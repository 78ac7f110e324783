"""The vocabulary that every file speaks. Tensors live in `streams.batch` and `streams.codec`."""

from talkies.streams.grid import MODALITIES, Grid, Modality

__all__ = ["MODALITIES", "Grid", "Modality"]
