"""First-frame conditioning, and a batch as streams."""

from fractions import Fraction
from types import SimpleNamespace

import torch

from talkies.codecs.config import LinearAudioConfig, WanVideoConfig
from talkies.models.mova.image import image_condition
from talkies.models.mova.network import MovaNetwork
from talkies.streams import Grid
from talkies.streams.batch import Stream


def test_mask_is_one_on_the_first_latent_frame_only() -> None:
    latent = torch.randn(2, 3, 5, 4, 6)
    given = image_condition(latent, 4)
    assert given.shape == (2, 7, 5, 4, 6)
    assert torch.equal(given[:, :4, 0], torch.ones(2, 4, 4, 6))
    assert not given[:, :4, 1:].any()
    assert torch.equal(given[:, 4:], latent)


def test_the_first_frame_goes_to_the_video_and_everything_else_stays() -> None:
    """The codec folds 4 frames into a latent step, so the mask has 4 channels."""
    grids = {
        "video": Grid(channels=3, shape=(5, 4, 6), rate=Fraction(6)),
        "audio": Grid(channels=2, shape=(9,), rate=Fraction(25)),
        "image": Grid(channels=3, shape=(5, 4, 6), rate=Fraction(6)),
    }
    mask = torch.ones(2, 9, dtype=torch.bool)
    given = {m: Stream(latent=torch.randn(2, *g.latent_shape), time=torch.rand(2), grid=g) for m, g in grids.items()}
    given["audio"] = Stream(latent=given["audio"].latent, time=given["audio"].time, grid=grids["audio"], mask=mask)
    setup = SimpleNamespace(codecs={"video": WanVideoConfig(), "audio": LinearAudioConfig()})
    streams = MovaNetwork().inputs(setup, given)
    assert list(streams) == ["video", "audio"]
    assert streams["audio"] is given["audio"]
    video = streams["video"]
    assert video.condition is not None
    assert torch.equal(video.condition, image_condition(given["image"].latent, 4))
    assert (video.latent is given["video"].latent, video.time is given["video"].time) == (True, True)
    assert (video.grid, video.mask) == (grids["video"], None)
    assert MovaNetwork().inputs(setup, {"audio": given["audio"]}).keys() == {"audio"}
