"""`talkies export --layout`: what other programs read from it, and what is refused."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from made_folders import AUDIO, SIZES, VIDEO, audio_config, bridge_config, folder_bytes, mova_folder, video_config
from made_releases import adapted, components_of, trained
from peft import PeftModel
from safetensors.torch import load_file
from small_codecs import wan_vae
from torch import Tensor, nn

from talkies.cli.main import run
from talkies.models.wan.config import TowerConfig
from talkies.models.wan.tower import Tower
from talkies.streams import Grid
from talkies.streams.batch import Stream
from talkies.weights.shards import Shard


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mova_folder(tmp_path_factory.mktemp("released") / "mova")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, released: Path) -> Path:
    return trained(tmp_path_factory.mktemp("trained") / "release", released)


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, release: Path, released: Path) -> Path:
    return adapted(tmp_path_factory.mktemp("adapted") / "release", release, released)


def export(source: Path, layout: str, out: Path, *options: str) -> Path:
    assert run(["export", str(source), "--layout", layout, "--out", str(out), *options]) == 0
    return out


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_trained_model_becomes_a_released_folder(release: Path, released: Path, tmp_path: Path) -> None:
    out = export(release, "mova", tmp_path / "out", "--shard-size", "20KB")
    made = components_of()
    folders = {
        "video_high": "video_dit",
        "video_low": "video_dit_2",
        "audio": "audio_dit",
        "bridge": "dual_tower_bridge",
    }
    for component, folder in folders.items():
        assert equal(tensors_of(out / folder), made[component])
        files = sorted((out / folder).glob("*.safetensors"))
        parts = [load_file(path).values() for path in files]
        assert all(len(part) == 1 or sum(value.nbytes for value in part) <= 20_000 for part in parts)
        index = json.loads((out / folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(value.nbytes for value in made[component].values())
        assert set(index["weight_map"].values()) == {path.name for path in files}
        for path in files:
            assert {key for key, file in index["weight_map"].items() if file == path.name} == load_file(path).keys()
    for folder, config in {
        "video_dit": video_config(VIDEO),
        "audio_dit": audio_config(AUDIO),
        "dual_tower_bridge": bridge_config(SIZES),
    }.items():
        assert json.loads((out / folder / "config.json").read_text()) == config
    for folder in ("video_vae", "audio_vae", "text_encoder", "tokenizer"):
        for path in (released / folder).iterdir():
            assert (out / folder / path.name).read_bytes() == path.read_bytes()
    index, theirs = (json.loads((folder / "model_index.json").read_text()) for folder in (out, released))
    assert index == {key: value for key, value in theirs.items() if key != "_diffusers_version"}


def test_small_components_are_one_file_without_an_index(release: Path, tmp_path: Path) -> None:
    out = export(release, "mova", tmp_path / "out")
    assert [path.name for path in sorted((out / "video_dit").iterdir())] == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]


def stream() -> tuple[Stream, Tensor, Tensor]:
    """A video stream, its channels and the text."""
    draw = torch.Generator().manual_seed(3)
    grid = Grid(channels=16, shape=(2, 4, 6), rate=Fraction(6))
    latent, text = torch.randn(2, 36, *grid.shape, generator=draw), torch.randn(2, 7, 32, generator=draw)
    time = torch.tensor([0.3, 0.95])
    return Stream(latent=latent[:, :16], condition=latent[:, 16:], time=time, grid=grid), latent, text


def answer(network: nn.Module) -> Tensor:
    """Of our tower or diffusers' for the same input."""
    given, latent, text = stream()
    with torch.no_grad():
        if isinstance(network, Tower):
            return network(given, text)
        found: Tensor = network(hidden_states=latent, timestep=1000 * given.time, encoder_hidden_states=text).sample
        return found


def tower(component: str, config: TowerConfig = VIDEO) -> Tower:
    made = Tower(config)
    made.load_state_dict(components_of()[component])
    return made.requires_grad_(False)


def near(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() < 1e-5 * b.norm())


def test_diffusers_computes_what_our_towers_do(release: Path, tmp_path: Path) -> None:
    pair = "video_high,video_low"
    out = export(release, "diffusers", tmp_path / "out", "--components", pair, "--shard-size", "100KB")
    for component, folder in {"video_high": "transformer", "video_low": "transformer_2"}.items():
        assert near(answer(tower(component)), answer(WanTransformer3DModel.from_pretrained(out / folder).eval()))
    vae = AutoencoderKLWan.from_pretrained(out / "vae")
    assert equal(
        dict(vae.state_dict()), {key: value.float() for key, value in wan_vae().bfloat16().state_dict().items()}
    )


def lora(source: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> A and B of an adapter's release."""
    found = load_file(source / "adapter" / "adapter_model.safetensors")
    names = [key.removesuffix(".lora_A.weight") for key in found if key.endswith(".lora_A.weight")]
    return {
        n.removeprefix("base_model.model."): (found[f"{n}.lora_A.weight"], found[f"{n}.lora_B.weight"]) for n in names
    }


def with_lora(component: str, source: Path) -> Tower:
    """Our tower, each of whose adapted layers adds alpha / rank B A x."""
    made = tower(component)
    for name, (down, up) in lora(source).items():
        if name.startswith(f"{component}."):
            layer = made.get_submodule(name.removeprefix(f"{component}."))
            layer.register_forward_hook(lambda _, x, y, down=down, up=up: y + 1.5 * (x[0] @ down.T) @ up.T)
    return made


def test_a_merged_adapter_is_its_base_with_what_it_adds(adapter: Path, release: Path, tmp_path: Path) -> None:
    out = export(adapter, "diffusers", tmp_path / "out", "--components", "video_high,video_low", "--merge")
    for component, folder in {"video_high": "transformer", "video_low": "transformer_2"}.items():
        theirs = answer(WanTransformer3DModel.from_pretrained(out / folder).eval())
        assert near(answer(with_lora(component, adapter)), theirs)
        assert not near(answer(tower(component)), theirs)
    assert not (out / "adapter").exists()


def test_merging_rounds_once_to_the_dtype_of_the_base(released: Path, tmp_path: Path) -> None:
    base = trained(tmp_path / "base", released, dtype=torch.bfloat16)
    source = adapted(tmp_path / "adapter", base, released)
    out = export(source, "mova", tmp_path / "out", "--merge")
    found, layers = tensors_of(out / "audio_dit"), lora(source)
    for key, value in components_of(dtype=torch.bfloat16)["audio"].items():
        pair = layers.get(f"audio.{key.removesuffix('.weight')}")
        expected = value if pair is None else (value.double() + 1.5 * pair[1].double() @ pair[0].double())
        assert found[key].dtype == torch.bfloat16
        # fp32 may round a value near the middle between two of bf16 to the other one.
        assert ((found[key].double() - expected.bfloat16().double()).abs() <= 2**-7 * expected.abs()).all()
        assert (found[key] == expected.bfloat16()).double().mean() > 0.99


def test_an_adapter_apart_loads_with_peft(adapter: Path, release: Path, tmp_path: Path) -> None:
    pair = "video_high,video_low"
    out = export(adapter, "diffusers", tmp_path / "out", "--components", pair, "--apart")
    plain = export(release, "diffusers", tmp_path / "plain", "--components", pair)
    for component, folder in {"video_high": "transformer", "video_low": "transformer_2"}.items():
        assert folder_bytes(out / folder) == folder_bytes(plain / folder)
        base = WanTransformer3DModel.from_pretrained(out / folder)
        assert near(
            answer(with_lora(component, adapter)),
            answer(PeftModel.from_pretrained(base, out / "adapter" / folder).eval()),
        )


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line on stderr of a command that fails."""
    capsys.readouterr()
    assert run(["export", *arguments]) == code
    output = capsys.readouterr()
    assert not output.out
    (line,) = output.err.splitlines()
    return line


def test_options_that_do_not_fit(
    release: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "out"
    to = ["--out", str(out), "--layout"]
    both = ["--merge", "--apart"]
    cases: list[tuple[list[str], list[str]]] = [
        ([str(release), *to, "mov"], ["'mov' is not known; one of mova, wan, diffusers"]),
        ([str(release), *to, "wan"], ["no audio, bridge: choose with --components video_high,video_low"]),
        ([str(release), *to, "mova", "--components", "vidoe_high"], ["'vidoe_high'", "Did you mean 'video_high'?"]),
        ([str(release), *to, "mova", "--components", "audio,"], ["not a list of different names"]),
        ([str(release), *to, "mova", "--merge"], ["--merge is for an adapter", "holds whole weights"]),
        ([str(adapter), *to, "mova"], ["is an adapter over", "--merge", "--apart"]),
        ([str(adapter), *to, "mova", *both], ["not allowed with argument"]),
        ([str(release), *to, "mova", "--shard-size", "5"], ["is no size", "5GB"]),
        ([str(release), *to, "mova", "--data", "x"], ["--data is for --consolidate"]),
        ([str(release), "--consolidate", "--out", str(out), "--no-codecs"], ["--no-codecs is for --layout"]),
    ]
    for arguments, words in cases:
        line = refused(capsys, 2, *arguments)
        assert all(word in line for word in words), line
    assert "exists" in refused(capsys, 2, str(release), "--layout", "mova", "--out", str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_files_that_come_back_have_their_own_size(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(released), "--out", str(tmp_path / "again")]) == 0
    out = ["--out", str(tmp_path / "out"), "--layout", "mova", "--shard-size", "50KB"]
    assert "goes out in the files that it came in" in refused(capsys, 2, str(tmp_path / "again"), *out)


def test_sources_that_are_damaged_or_missing(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = trained(tmp_path / "base", released)
    source = adapted(tmp_path / "adapter", base, released)
    to = ["--layout", "mova", "--out", str(tmp_path / "out")]
    assert "not a folder" in refused(capsys, 65, str(tmp_path / "none"), *to)
    (tmp_path / "empty").mkdir()
    assert "no release.json" in refused(capsys, 65, str(tmp_path / "empty"), *to)
    weights = base / "audio.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    for path in (base, source):
        assert "audio.safetensors is damaged" in refused(
            capsys, 65, str(path), *to, *(["--merge"] if path == source else [])
        )
    shutil.rmtree(base)
    assert "was not found" in refused(capsys, 65, str(source), *to, "--merge")
    lost = trained(tmp_path / "lost", tmp_path / "gone")
    line = refused(capsys, 65, str(lost), *to)
    assert "codec is not at" in line
    assert "--no-codecs" in line
    other = mova_folder(tmp_path / "other")
    exchanged = trained(tmp_path / "exchanged", other)
    made = AutoencoderKLWan.from_pretrained(other / "video_vae")
    next(made.parameters()).data.add_(1)
    made.save_pretrained(other / "video_vae")
    assert "and the release was made with" in refused(capsys, 65, str(exchanged), *to)
    assert not (tmp_path / "out").exists()
    export(lost, "mova", tmp_path / "out", "--no-codecs")
    index = json.loads((tmp_path / "out" / "model_index.json").read_text())
    held = {"audio_dit", "dual_tower_bridge", "scheduler", "video_dit", "video_dit_2"}
    assert {key for key, value in index.items() if isinstance(value, list)} == held


def test_a_full_disk_leaves_nothing(
    release: Path,
    file_system: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = file_system("size=400k")
    to = ["--layout", "mova", "--out", str(disk / "out")]
    assert "are needed" in refused(capsys, 74, str(release), *to)
    monkeypatch.setattr("talkies.runs.run_export.check_room", lambda *_: None)
    assert "No space left" in refused(capsys, 74, str(release), *to)
    assert not list(disk.iterdir())


def test_an_interrupt_leaves_nothing(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(shard: Shard, folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(shard, folder)

    write = Shard.write
    monkeypatch.setattr(Shard, "write", interrupted)
    assert "SIGINT" in refused(capsys, 130, str(release), "--layout", "mova", "--out", str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())
