"""The folders made for tests have the tensors of the released ones, which diffusers and the codecs read."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from made_folders import SIZES, bridge_shapes, diffusers_folder, folder_bytes, mova_folder, tower_shapes, wan_folder

from talkies.codecs.config import MovaAudioConfig, Umt5TextConfig, WanVideoConfig
from talkies.codecs.load import load_codec
from talkies.models.mova.config import PRESETS, MovaShape
from talkies.models.mova.network import Mova


@pytest.mark.parametrize(("sizes", "counts"), [(PRESETS["a14b"], (1095, 1095, 825, 720)), (SIZES, None)])
def test_names_are_those_of_the_networks(sizes: MovaShape, counts: tuple[int, ...] | None) -> None:
    spelled = {name: tower_shapes(sizes.video) for name in ("video_high", "video_low")}
    spelled |= {"audio": tower_shapes(sizes.audio), "bridge": bridge_shapes(sizes)}
    with torch.device("meta"):
        made = Mova(sizes, components=frozenset(spelled))
    for name, shapes in spelled.items():
        assert {key: tuple(value.shape) for key, value in getattr(made, name).state_dict().items()} == shapes
    assert counts is None or tuple(map(len, spelled.values())) == counts


def test_mova(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    assert len(list((folder / "video_dit").glob("*-of-00003.safetensors"))) == 3
    for part, config in {
        "video": WanVideoConfig(weights=str(folder / "video_vae")),
        "audio": MovaAudioConfig(weights=str(folder / "audio_vae"), channels=4),
        "text": Umt5TextConfig(weights=str(folder), dim=32),
    }.items():
        load_codec(part, config, tmp_path)
    assert folder_bytes(mova_folder(tmp_path / "again")) == folder_bytes(folder)


def test_wan(tmp_path: Path) -> None:
    files = folder_bytes(wan_folder(tmp_path / "wan"))
    assert {name for name in files if name.endswith(".json") and "/" not in name} == {"configuration.json"}
    weights = [file for name, file in files.items() if name.endswith(".safetensors")]
    assert len(set(weights)) == len(weights) == 6


def test_diffusers(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "diffusers")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 2
    high, low = (WanTransformer3DModel.from_pretrained(folder / name) for name in ("transformer", "transformer_2"))
    assert not torch.equal(high.patch_embedding.weight, low.patch_embedding.weight)
    AutoencoderKLWan.from_pretrained(folder / "vae")
