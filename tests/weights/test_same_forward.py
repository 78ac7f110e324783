"""What goes in and out computes the same: our network, diffusers' towers, and the VAE."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from made_folders import SIZES, VIDEO, diffusers_folder, mova_folder, wan_folder
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_streams import audio, condition, video

from talkies.checkpoints.release import read_release
from talkies.cli.main import run
from talkies.codecs.wan import WanVideoCodec
from talkies.models.mova.network import Mova
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe
from talkies.runs.building import restore_model
from talkies.runs.recorded import recipe_of_release
from talkies.streams.batch import Stream

FOLDERS = {
    "video_high": "video_dit",
    "video_low": "video_dit_2",
    "audio": "audio_dit",
    "bridge": "dual_tower_bridge",
}


def talkies(*words: object) -> None:
    assert run([str(word) for word in words]) == 0


def recipe_of(release: Path) -> PhaseRecipe:
    return recipe_of_release(release, read_release(release), SYSTEMS)


def model_of(release: Path) -> nn.Module:
    """Of a release, in fp32."""
    return restore_model(replace(recipe_of(release), precision="fp32"), release, None)


def given_tensors(folder: Path, components: dict[str, str]) -> Mova:
    """Our network with the tensors of a folder of our own names."""
    made = Mova(SIZES, components=frozenset(components))
    for component, name in components.items():
        held: dict[str, Tensor] = {}
        for path in (folder / name).glob("*.safetensors"):
            held |= load_file(path)
        made.get_submodule(component).load_state_dict({key: value.float() for key, value in held.items()})
    return made


@pytest.mark.parametrize("expert", [0, 1])
def test_an_imported_model_is_our_network_given_the_same_tensors(tmp_path: Path, expert: int) -> None:
    folder = mova_folder(tmp_path / "mova")
    talkies("import", folder, "--out", tmp_path / "release")
    torch.manual_seed(0)
    streams = {"video": video(shape=SIZES), "audio": audio(shape=SIZES)}
    given = condition(expert=expert, shape=SIZES)
    with torch.no_grad():
        ours, expected = model_of(tmp_path / "release")(streams, given), given_tensors(folder, FOLDERS)(streams, given)
    assert ours.keys() == expected.keys() == {"video", "audio"}
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name
        assert 0.01 < value.std() < 100, f"{name} says something"


def theirs(network: WanTransformer3DModel, stream: Stream, text: Tensor) -> Tensor:
    assert stream.condition is not None
    latent = torch.cat([stream.latent, stream.condition], dim=1)
    found: Tensor = network(hidden_states=latent, timestep=1000 * stream.time, encoder_hidden_states=text).sample
    return found


@pytest.mark.parametrize("source", ["wan", "diffusers"])
def test_diffusers_computes_from_an_export_what_the_import_does(tmp_path: Path, source: str) -> None:
    """Wan's names become diffusers'; and diffusers' own come back."""
    folder = {"wan": wan_folder, "diffusers": diffusers_folder}[source](tmp_path / "source", tower=VIDEO)
    talkies("import", folder, "--out", tmp_path / "release")
    talkies("export", tmp_path / "release", "--layout", "diffusers", "--out", tmp_path / "out")
    torch.manual_seed(0)
    ours, stream, text = model_of(tmp_path / "release"), video(shape=SIZES), condition(shape=SIZES).texts["text"]
    answers = []
    for component, name in {"video_high": "transformer", "video_low": "transformer_2"}.items():
        network = WanTransformer3DModel.from_pretrained(tmp_path / "out" / name, torch_dtype=torch.float32).eval()
        with torch.no_grad():
            answers.append(ours.get_submodule(component)(stream, text.embedding))
            other = theirs(network, stream, text.embedding)
        assert (answers[-1] - other).norm() < 1e-5 * other.norm()
    assert (answers[0] - answers[1]).norm() > 0.1 * answers[0].norm(), "the experts differ"


def test_an_exported_vae_decodes_as_our_codec_does(tmp_path: Path) -> None:
    talkies("import", diffusers_folder(tmp_path / "source"), "--out", tmp_path / "release")
    talkies("export", tmp_path / "release", "--layout", "diffusers", "--out", tmp_path / "out")
    codec = WanVideoCodec.load(recipe_of(tmp_path / "release").codecs["video"])
    vae = AutoencoderKLWan.from_pretrained(tmp_path / "out" / "vae", torch_dtype=torch.float32).eval()
    latent = torch.randn(1, 16, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        expected = vae.decode(latent * std + mean).sample.transpose(1, 2)
    found = codec.decode(latent)
    assert found.shape == expected.shape == (1, 9, 3, 16, 32)
    assert torch.equal(found, expected)
    assert found.std() > 0.01
