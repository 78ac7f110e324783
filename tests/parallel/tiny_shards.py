"""A small shard set for the toy preset."""

from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, LinearVideoConfig
from talkies.data.clip import Caption, Clip, Header, Latent
from talkies.data.shards import ShardWriter
from talkies.flow.config import FlowConfig
from talkies.models.build import build
from talkies.models.mova.config import JointConfig, MovaConfig
from talkies.models.mova.system import MOVA
from talkies.streams import Grid
from talkies.streams.batch import Text
from talkies.training.phase import Objective

SETUP = SimpleNamespace(
    model=MovaConfig(preset="toy"),
    phase=JointConfig(text_dropout=0.5),
    codecs={"video": LinearVideoConfig(), "audio": LinearAudioConfig(), "text": ByteTextConfig()},
)
"""Joint training of the toy."""
TOY = SETUP.model.shape


def network() -> nn.Module:
    """All components of the toy, with the same weights every time."""
    return build(MOVA, SETUP, MOVA.parts(SETUP).components, seed=3)


def objective() -> Objective:
    """What joint training of the toy minimises."""
    return Objective(
        flow=FlowConfig(),
        parts=MOVA.parts(SETUP),
        inputs=partial(MOVA.network().inputs, SETUP),
        group_of=MOVA.group,
        seed=5,
    )


def grids(width: int) -> dict[str, Grid]:
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
        codecs=dict.fromkeys((*geometry, "text"), "0"), codec_configs={}, null_texts={"text": null},
        made_by={"video": "video", "audio": "audio", "image": "video", "text": "text"},
    )  # fmt: skip
    with ShardWriter(folder, header, 4) as writer:
        for number in range(11):
            text = torch.zeros(4, TOY.video.text_dim)
            text[:2] = torch.randn(2, TOY.video.text_dim, generator=generator)
            valid = {"video": 3, "audio": 5 - number % 2, "image": 3}
            streams = {
                name: Latent(values=torch.randn(g.latent_shape, generator=generator), grid=g, valid=valid[name])
                for name, g in (geometry | {"image": geometry["video"]}).items()
            }
            texts = {"text": Caption(caption=f"clip {number}", features=text[:2])}
            writer.add(Clip(id=f"clip-{number}", streams=streams, texts=texts))
    return folder
