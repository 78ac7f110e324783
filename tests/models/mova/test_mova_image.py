"""First-frame conditioning, and a batch as streams."""

from fractions import Fraction

import torch

from talkies.models.mova.image import image_condition
from talkies.models.streams import as_streams
from talkies.streams import Grid
from talkies.streams.batch import Batch, Text


def test_mask_is_one_on_the_first_latent_frame_only() -> None:
    latent = torch.randn(2, 3, 5, 4, 6)
    given = image_condition(latent, 4)
    assert given.shape == (2, 7, 5, 4, 6)
    assert torch.equal(given[:, :4, 0], torch.ones(2, 4, 4, 6))
    assert not given[:, :4, 1:].any()
    assert torch.equal(given[:, 4:], latent)


def test_a_batch_becomes_streams_with_masks_only_where_something_is_padded() -> None:
    grids = {
        "video": Grid(channels=3, shape=(5, 4, 6), rate=Fraction(6)),
        "audio": Grid(channels=2, shape=(9,), rate=Fraction(25)),
    }
    latents = {m: torch.randn(2, *grid.latent_shape) for m, grid in grids.items()}
    masks = {m: torch.ones(2, grid.shape[0], dtype=torch.bool) for m, grid in grids.items()}
    text = Text(embedding=torch.zeros(2, 3, 4), length=torch.zeros(2, dtype=torch.int64))
    batch = Batch(
        ids=("a", "b"),
        visits=(0, 0),
        captions=("", ""),
        latents=latents,
        masks=masks,
        padded=frozenset({"audio"}),
        grids=grids,
        image=torch.randn(2, 3, 5, 4, 6),
        text=text,
        null_text=text,
    )
    times = {m: torch.rand(2) for m in grids}
    streams = as_streams(batch, latents, times, mask_channels=4)
    assert streams["video"].mask is None
    assert streams["audio"].mask is masks["audio"]
    assert streams["audio"].condition is None
    assert torch.equal(streams["video"].condition, image_condition(batch.image, 4))
    assert all(streams[m].time is times[m] and streams[m].grid is grids[m] for m in grids)
    assert as_streams(batch, {"audio": latents["audio"]}, times, mask_channels=4).keys() == {"audio"}
