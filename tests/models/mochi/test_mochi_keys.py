"""Without sound and reference, and with the same weights, the network is Mochi-1."""

from dataclasses import replace

import pytest
import torch
from diffusers import MochiTransformer3DModel
from joint_toy import TOY, prompt, toy, video
from random_mochi import in_genmos_names, mochi
from torch import Tensor, nn

from talkies.config import CheckpointError
from talkies.models.build import count_parameters
from talkies.models.mirage.config import PRESETS
from talkies.models.mochi.config import ModalityShape
from talkies.models.mochi.keys import from_diffusers, from_genmo, from_mochi
from talkies.models.mochi.network import JointDiT
from talkies.streams.batch import Condition, Stream

# diffusers computes its rotary table within an autocast to fp32, which a CPU does not know.
pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast, but the target dtype is not supported")
MOCHI = frozenset({"video", "text"})
WIDE = {**TOY.modalities, "video": ModalityShape(width=96, channels=12)}


@pytest.fixture(scope="module")
def theirs() -> MochiTransformer3DModel:
    torch.manual_seed(0)
    return mochi()


@pytest.fixture(scope="module", params=["diffusers", "genmo"])
def ours(request: pytest.FixtureRequest, theirs: MochiTransformer3DModel) -> JointDiT:
    state = theirs.state_dict()
    model = JointDiT(TOY, components=MOCHI)
    model.load_state_dict(from_mochi(in_genmos_names(state) if request.param == "genmo" else state, TOY))
    return model


@torch.no_grad()
def predicted(model: nn.Module, clip: Stream, condition: Condition) -> Tensor:
    """Mochi's velocity noise - data: it predicts data - noise, at a time that rises from 0 to 1000."""
    text = condition.texts["text"]
    made = model(
        hidden_states=clip.latent,
        encoder_hidden_states=text.embedding,
        timestep=1000 * (1 - clip.time),
        encoder_attention_mask=torch.arange(text.embedding.shape[1]) < text.length[:, None],
    )
    return -made.sample


@torch.no_grad()
def test_it_is_mochi(ours: JointDiT, theirs: MochiTransformer3DModel) -> None:
    """Four samples of different times; a prompt of full length, padded ones, and an empty one."""
    clip, condition = replace(video(4), time=torch.tensor([0.0, 0.25, 0.75, 1.0])), prompt(4, 3, 1, 0)
    expected, found = predicted(theirs, clip, condition), ours({"video": clip}, condition)["video"]
    for index in range(4):
        assert float((found[index] - expected[index]).abs().max()) <= 1e-5 * float(expected[index].abs().max())


@torch.no_grad()
def test_prompts_that_are_all_empty_are_no_prompts(ours: JointDiT, theirs: MochiTransformer3DModel) -> None:
    clip, empty = replace(video(), time=torch.tensor([0.5, 0.875])), prompt(0, 0)
    expected = predicted(theirs, clip, empty)
    for condition in (empty, Condition(texts={}), replace(prompt(4, 2), without=frozenset({"text"}))):
        found = ours({"video": clip}, condition)["video"]
        assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_the_sound_stream_can_begin_without_a_voice(ours: JointDiT) -> None:
    """Mochi's weights, and new ones for the sound: nothing that Mochi has is missing."""
    model = toy()
    missing, left = model.load_state_dict(ours.state_dict(), strict=False)
    assert not left
    assert {name.partition(".")[0] for name in missing} == {"sound"}


def test_the_preset_has_mochis_own_count() -> None:
    with torch.device("meta"):
        expected = sum(p.numel() for p in MochiTransformer3DModel().parameters())
        found = {name: count_parameters(part) for name, part in JointDiT(PRESETS["10b"]).named_children()}
    assert found["video"] + found["text"] == expected == 10_027_677_744
    assert found["sound"] == 2_682_110_976


def test_weights_that_do_not_fit_are_named(theirs: MochiTransformer3DModel) -> None:
    state = theirs.state_dict()
    less = {key: value for key, value in state.items() if key != "transformer_blocks.1.attn1.to_q.weight"}
    with pytest.raises(CheckpointError, match=r"no weights for video\.blocks\.1\.enter\.attn\.q\.weight;"):
        from_diffusers(less, TOY)
    with pytest.raises(CheckpointError, match=r"no parameters for extra\.weight; check the preset"):
        from_diffusers({**state, "extra.weight": torch.zeros(1)}, TOY)
    with pytest.raises(
        CheckpointError, match=r"other shapes: .*, video\.embedding\.weight \(48, 12, 1, 2, 2\) for \(96,"
    ):
        from_diffusers(state, replace(TOY, heads=12, modalities=WIDE))
    with pytest.raises(CheckpointError, match=r"no parameters for patch_embed\.proj\.weight, "):
        from_genmo(state, TOY)
    deeper = {key.replace("_blocks.2.", "_blocks.3."): value for key, value in state.items()}
    with pytest.raises(CheckpointError, match=r"no parameters for transformer_blocks\.3\."):
        from_diffusers(deeper, TOY)
