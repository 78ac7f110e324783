"""Our tower computes what diffusers' WanTransformer3DModel computes with the same weights."""

from fractions import Fraction

import pytest
import torch
from diffusers import WanTransformer3DModel

from talkies.config import CheckpointError
from talkies.models.wan.config import TowerConfig
from talkies.models.wan.keys import tower_from_diffusers
from talkies.models.wan.tower import Tower
from talkies.streams import Grid
from talkies.streams.batch import Stream

CONFIG = TowerConfig(
    dim=48, ffn_dim=80, heads=2, layers=3, patch=(1, 2, 2), in_channels=7, out_channels=3, text_dim=20, freq_dim=16
)


@pytest.fixture(scope="module")
def reference() -> WanTransformer3DModel:
    torch.manual_seed(0)
    model = WanTransformer3DModel(
        patch_size=CONFIG.patch,
        num_attention_heads=CONFIG.heads,
        attention_head_dim=CONFIG.head_dim,
        in_channels=CONFIG.in_channels,
        out_channels=CONFIG.out_channels,
        text_dim=CONFIG.text_dim,
        freq_dim=CONFIG.freq_dim,
        ffn_dim=CONFIG.ffn_dim,
        num_layers=CONFIG.layers,
        eps=CONFIG.eps,
    )
    for name, parameter in model.named_parameters():  # norms are initialised to 1 and 0, which would hide a swap
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("times", [[0.25, 0.9, 0.001], [1.0, 1.0, 1.0]])
def test_forward_parity(reference: WanTransformer3DModel, times: list[float]) -> None:
    tower = Tower(CONFIG)
    tower.load_state_dict(tower_from_diffusers(reference.state_dict()), strict=True)
    grid = Grid(channels=3, shape=(4, 6, 10), rate=Fraction(6))
    latent, text, time = torch.randn(3, 7, *grid.shape), torch.randn(3, 9, CONFIG.text_dim), torch.tensor(times)
    stream = Stream(latent=latent[:, :3], condition=latent[:, 3:], time=time, grid=grid)
    ours = tower(stream, text)
    # diffusers takes one time per sample as a vector [B]
    theirs = reference(hidden_states=latent, timestep=1000 * time, encoder_hidden_states=text).sample
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_renaming_keeps_every_tensor(reference: WanTransformer3DModel) -> None:
    theirs = reference.state_dict()
    ours = tower_from_diffusers(theirs)
    assert len(ours) == len(theirs)
    assert all(a is b for a, b in zip(ours.values(), theirs.values(), strict=True))


@pytest.mark.parametrize(
    "key", ["blocks.0.attn2.add_k_proj.weight", "condition_embedder.image_embedder.norm1.weight", "x"]
)
def test_foreign_keys_are_refused(key: str) -> None:
    with pytest.raises(CheckpointError, match=f"no parameter for key {key!r}"):
        tower_from_diffusers({key: torch.zeros(1)})
