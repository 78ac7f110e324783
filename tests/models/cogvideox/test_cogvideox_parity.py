"""With the same weights, ours computes what diffusers' CogVideoXTransformer3DModel computes."""

from dataclasses import replace

import pytest
import torch
from cog_toy import KINDS, SHAPE, clip, sizes, their_rope, theirs, words
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor

from talkies.config import CheckpointError
from talkies.models.build import count_parameters
from talkies.models.cogvideox.config import PRESETS
from talkies.models.cogvideox.keys import from_diffusers, to_diffusers
from talkies.models.cogvideox.tower import CogVideoX
from talkies.streams.batch import Stream


def predicted(model: CogVideoXTransformer3DModel, kind: str, stream: Stream, text: Tensor) -> Tensor:
    """[B, C, F, H, W], at the steps 1000 t - 1; diffusers has frames before channels."""
    parts = [stream.latent] if stream.condition is None else [stream.latent, stream.condition]
    found = model(
        hidden_states=torch.cat(parts, 1).transpose(1, 2),
        encoder_hidden_states=text,
        timestep=(1000 * stream.time.double() - 1).clamp(min=0),
        image_rotary_emb=None if kind == "sincos" else their_rope(KINDS[kind], stream.grid.shape),
    )
    out: Tensor = found.sample.transpose(1, 2)
    return out


CASES = {
    "rope": ("rope", SHAPE),
    "rope, upright": ("rope", (2, 10, 6)),
    "rope, wide": ("rope", (5, 4, 20)),
    "rope, one row": ("rope", (1, 2, 6)),
    "sincos": ("sincos", SHAPE),
    "sincos, another frame and length": ("sincos", (5, 10, 6)),
    "learned": ("learned", SHAPE),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_it_is_cogvideox(case: str) -> None:
    """Four samples of different noise levels, a clean one among them."""
    kind, shape = CASES[case]
    reference = theirs(kind)
    ours = CogVideoX(KINDS[kind])
    ours.load_state_dict(from_diffusers(reference.state_dict()))
    stream = clip(4, shape=shape, condition=KINDS[kind].in_channels - KINDS[kind].out_channels)
    stream, text = replace(stream, time=torch.tensor([0.0, 0.25, 0.625, 1.0])), words(4)
    expected, found = predicted(reference, kind, stream, text), ours(stream, text)
    assert found.shape == expected.shape == stream.latent.shape
    for index in range(4):
        assert float((found[index] - expected[index]).abs().max()) <= 1e-5 * float(expected[index].abs().max())


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_released_counts(preset: str) -> None:
    """The table is a parameter of ours, and a buffer of theirs."""
    config = PRESETS[preset]
    with torch.device("meta"):
        reference, ours = CogVideoXTransformer3DModel(**sizes(config)), CogVideoX(config)
    table = 17_776 * 3072 if preset == "5b-i2v" else 0
    expected = {"2b": 1_693_783_872, "5b": 5_570_283_072, "5b-i2v": 5_570_479_680}[preset]
    assert count_parameters(reference) == expected == count_parameters(ours) - table
    found = to_diffusers(dict(ours.named_parameters()))
    expected_shapes = {key: value.shape for key, value in reference.state_dict().items()}
    assert {key: value.shape for key, value in found.items()} == expected_shapes


@pytest.mark.parametrize("kind", KINDS)
def test_renaming_keeps_every_tensor_both_ways(kind: str) -> None:
    state = theirs(kind).state_dict()
    back = to_diffusers(from_diffusers(state))
    assert [*back] == [*state]
    assert all(back[key] is value for key, value in state.items())


@pytest.mark.parametrize(
    "key", ["ofs_embedding.linear_1.weight", "transformer_blocks.0.attn1.to_x.weight", "blocks.0.attn.q.weight", "x"]
)
def test_foreign_keys_are_refused(key: str) -> None:
    with pytest.raises(CheckpointError, match=f"no parameter for key {key!r}; use .* CogVideoX-5b-I2V"):
        from_diffusers({key: torch.zeros(1)})
