"""Pictures that are given are encoded in the tiles that a film is decoded in."""

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from talkies.codecs.config import LinearAudioConfig, WanVideoConfig
from talkies.codecs.wan import WanVideoCodec
from talkies.generate.conditions import condition_of
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.mova.config import JointConfig, MovaConfig
from talkies.models.mova.system import MOVA
from talkies.streams.codec import Codecs

FRAMES, HEIGHT, WIDTH, FPS = 5, 48, 64, 24.0


def generator() -> Generator:
    """As much of one as encodes pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1).requires_grad_(False)
    config = WanVideoConfig()
    codec = WanVideoCodec(config, network)
    setup = SimpleNamespace(
        model=MovaConfig(preset="toy"), phase=JointConfig(), codecs={"video": config, "audio": LinearAudioConfig()}
    )
    grid = codec.grid(FRAMES, HEIGHT, WIDTH, FPS)
    unused: Any = None
    return Generator(
        denoiser=unused,
        codecs=Codecs(video={"video": codec}),
        system=MOVA,
        setup=setup,
        grids={"video": grid, "image": grid},
        fps=FPS,
    )


def clip() -> Tensor:
    return torch.rand(FRAMES, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 - 1


def encoded(request: Request, name: str, tiles: tuple[int, int] | None) -> Tensor:
    stream = condition_of(generator(), [request], name, tiles)
    assert stream is not None
    return stream.latent


def test_a_first_frame_and_a_given_film_are_encoded_in_tiles() -> None:
    film = clip()
    first = torch.cat([film[:1], torch.zeros_like(film[1:])])
    codec: Any = generator().codecs.video["video"]
    for name, request, frames in (
        ("image", Request(prompts={}, image=film[0], id="a"), first),
        ("video", Request(prompts={}, id="a", given={"video": film}), film),
    ):
        whole = encoded(request, name, None)
        assert torch.equal(whole, codec.encode(frames[None]))
        assert torch.equal(encoded(request, name, (64, 16)), whole)
        apart = encoded(request, name, (32, 16))
        assert torch.equal(apart, codec.encode(frames[None], (32, 16)))
        assert not torch.equal(apart, whole)
