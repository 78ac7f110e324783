"""From a batch of latents to the inputs of a denoiser."""

from collections.abc import Mapping

from torch import Tensor

from talkies.models.mova.image import image_condition
from talkies.streams import Modality
from talkies.streams.batch import Batch, Stream


def as_streams(
    batch: Batch, noisy: Mapping[Modality, Tensor], times: Mapping[Modality, Tensor], *, mask_channels: int
) -> dict[Modality, Stream]:
    """One Stream per modality of `noisy`: its grid, its padding mask (None if nothing is padded), and for video the
    first-frame condition (mask channels, then the image latent; docs/mova.md: First frame)."""
    streams: dict[Modality, Stream] = {}
    for modality, latent in noisy.items():
        condition = None
        if modality == "video":
            assert batch.image is not None, "a batch with video has a first-frame latent"
            condition = image_condition(batch.image, mask_channels)
        streams[modality] = Stream(
            latent=latent,
            time=times[modality],
            grid=batch.grids[modality],
            condition=condition,
            mask=batch.masks[modality] if modality in batch.padded else None,
        )
    return streams
