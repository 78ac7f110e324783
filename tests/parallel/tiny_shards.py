"""A small shard set for the toy preset."""

from fractions import Fraction
from pathlib import Path

import torch

from talkies.data.clip import Clip, Header
from talkies.data.shards import ShardWriter
from talkies.models.mova.config import PRESETS
from talkies.streams import Grid, Modality
from talkies.streams.batch import Text

TOY = PRESETS["toy"]
MASK = TOY.video.in_channels - 2 * TOY.video.out_channels


def grids(width: int) -> dict[Modality, Grid]:
    """Video of 3 x 2 x `width` and 5 steps of audio."""
    return {
        "video": Grid(channels=TOY.video.out_channels, shape=(3, 2, width), rate=Fraction(6)),
        "audio": Grid(channels=TOY.audio.out_channels, shape=(5,), rate=Fraction(25, 2)),
    }


def tiny_shards(folder: Path, *, width: int = 6) -> Path:
    """11 clips of 9 video tokens (at width 6) and 5 audio tokens, some padded: passes end within a batch, and no number
    divides another."""
    geometry = grids(width)
    generator = torch.Generator().manual_seed(0)
    null = Text(embedding=torch.zeros(1, 4, TOY.video.text_dim), length=torch.tensor([1]))
    header = Header(
        name="tiny", split="train", geometry="16x16x5@12", fps=12.0,
        codecs=dict.fromkeys((*geometry, "text"), "0"), codec_configs={}, null_text=null,
        mask_channels=MASK,
    )  # fmt: skip
    with ShardWriter(folder, header, 4) as writer:
        for number in range(11):
            text = torch.zeros(4, TOY.video.text_dim)
            text[:2] = torch.randn(2, TOY.video.text_dim, generator=generator)
            latents = {m: torch.randn(g.latent_shape, generator=generator) for m, g in geometry.items()}
            valid = {"video": 3, "audio": 5 - number % 2}
            image = torch.randn(geometry["video"].latent_shape, generator=generator)
            writer.add(
                Clip(
                    id=f"clip-{number}", caption=f"clip {number}", latents=latents, valid=valid, grids=geometry,
                    image=image, text=text, text_length=2,
                )
            )  # fmt: skip
    return folder
