"""Folders of released weights become releases: every tensor is accounted for, and nothing else is written."""

import json
import math
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from made_folders import SIZES, diffusers_folder, mova_folder, tower_shapes, wan_folder
from safetensors.torch import load_file, save_file
from torch import Tensor

from talkies.checkpoints.release import load_component, open_component, read_release
from talkies.config import CheckpointError, DataError, RecipeError, StorageError
from talkies.config.canonical import to_dict
from talkies.config.source import load
from talkies.models.build import build
from talkies.models.mova.config import COMPONENTS, EXPERTS
from talkies.models.systems import SYSTEMS
from talkies.models.wan.keys import tower_from_diffusers
from talkies.recipe.config import decode_phase
from talkies.runs.building import build_model, restore_model
from talkies.runs.import_choices import Choices
from talkies.runs.parents import open_parents
from talkies.runs.recorded import recipe_of_release
from talkies.runs.run_import import import_folder

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"
GEOMETRY = "32x32x9@24"
MADE = {"mova": mova_folder, "wan": wan_folder, "diffusers": diffusers_folder}


def imported(folder: Path, out: Path, **choices: Any) -> Path:
    import_folder(folder, out, Choices(geometry=GEOMETRY, **choices), SYSTEMS, say=lambda _: None)
    return out


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of each layout, made once, not to be changed."""
    root = tmp_path_factory.mktemp("made")

    def get(name: str) -> Path:
        return root / name if (root / name).exists() else MADE[name](root / name)

    return get


@pytest.mark.parametrize("name", MADE)
def test_every_tensor_is_in_the_release_under_our_name(made: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    folder = made(name)
    release = imported(folder, tmp_path / "release")
    info = read_release(release)
    for component, source in info["imported"]["folders"].items():
        theirs = tensors_of(folder / source)
        ours = load_component(release, component)
        wanted = tower_from_diffusers(theirs) if name == "diffusers" else theirs
        assert ours.keys() == wanted.keys()
        assert all(ours[key].dtype == torch.bfloat16 and torch.equal(ours[key], wanted[key]) for key in wanted)
        assert info["components"][component]["parameters"] == sum(tensor.numel() for tensor in wanted.values())
    assert info["imported"]["layout"] == name
    assert (info["step"], info["weights"], info["data"], info["parents"]) == (0, "imported", None, {})


@pytest.mark.parametrize("name", MADE)
def test_the_model_of_the_release_holds_the_released_values(
    made: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    folder = made(name)
    release = imported(folder, tmp_path / "release")
    recipe = recipe_of_release(release, read_release(release), SYSTEMS)
    state = restore_model(recipe, release, None).state_dict()
    for component, source in read_release(release)["imported"]["folders"].items():
        theirs = tensors_of(folder / source)
        for key, tensor in (tower_from_diffusers(theirs) if name == "diffusers" else theirs).items():
            assert torch.equal(state[f"{component}.{key}"].float(), tensor.float())


def test_a_release_of_the_full_layout_says_what_the_folder_says(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = made("mova")
    release = imported(folder, tmp_path / "release", name="mine")
    info = read_release(release)
    recipe = recipe_of_release(release, info, SYSTEMS)
    assert recipe.name == "mine"
    assert recipe.model.shape == SIZES
    assert recipe.phase.kind == "joint"
    assert (recipe.precision, recipe.data.geometry) == ("bf16", GEOMETRY)
    assert recipe.sampling.steps == 50
    assert recipe.sampling.scales == {"text": 5.0}
    assert {recipe.sampling.schedule.shift(name) for name in ("video", "audio")} == {5.0}
    for part, codec in recipe.codecs.items():
        assert codec.weights == str(release / "codecs" / part)
    for name in ("model_index.json", "scheduler/scheduler_config.json", "video_dit/config.json"):
        assert (release / "origin" / name).read_bytes() == (folder / name).read_bytes()


def test_a_release_is_the_parent_of_a_phase(made: Callable[[str], Path], tmp_path: Path) -> None:
    """The full-scale recipe, with these sizes: `parents.base` for all components, `parents.video` for the experts."""
    for name, slot in (("mova", "base"), ("diffusers", "video")):
        release = imported(made(name), tmp_path / name)
        source = load(RECIPES / "joint_phase2.yaml", ["codecs.audio.channels=4", "codecs.text.dim=32"])
        source.values["model"] = {"kind": "mova", "sizes": to_dict(SIZES)}
        source.values["parents"] = {slot: str(release)}
        recipe = decode_phase(source, SYSTEMS)
        parents = open_parents(recipe, {}, Path)
        model = build_model(recipe, parents)
        state = model.state_dict()
        for component in read_release(release)["components"]:
            for key, tensor in load_component(release, component).items():
                held = state[f"{component}.{key}"]
                assert torch.equal(held, tensor.to(held.dtype))
        changed = {**to_dict(SIZES), "video": {**to_dict(SIZES.video), "dim": 96}}
        source.values["model"] = {"kind": "mova", "sizes": changed}
        wider = decode_phase(source, SYSTEMS)
        with pytest.raises(CheckpointError, match=r"of another architecture: video\.dim is 48"):
            open_parents(wider, {}, Path)


def test_our_own_names_are_copied_byte_for_byte_or_linked(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = made("wan")
    copied = imported(folder, tmp_path / "copied")
    linked = imported(folder, tmp_path / "linked", link=True)
    for component, source in zip(EXPERTS, ("high_noise_model", "low_noise_model"), strict=True):
        for number in (1, 2, 3):
            theirs = folder / source / f"diffusion_pytorch_model-{number:05}-of-00003.safetensors"
            name = f"{component}-{number:05}-of-00003.safetensors"
            assert (copied / name).read_bytes() == theirs.read_bytes()
            assert not (copied / name).samefile(theirs)
            assert (linked / name).samefile(theirs)
    assert read_release(copied)["files"] == read_release(linked)["files"]


@pytest.mark.parametrize(("layout", "counts"), [("mova", (1095, 1095, 825, 720)), ("diffusers", (1095, 1095))])
def test_full_depth_is_accounted_for(layout: str, counts: Collection[int]) -> None:
    """1095 tensors of a video expert, 825 of the audio tower, 720 of the Bridge: names there, and back."""
    (system,) = (one for one in SYSTEMS if layout in one.layouts)
    held = system.layouts[layout]
    setup = recipe_like(system, sorted(held.components))
    model = build(system, setup, held.components, seed=None)
    for component, count in zip(COMPONENTS, counts, strict=False):
        names = [name for name, _ in model.get_submodule(component).named_parameters()]
        one = held.components[component]
        theirs = {one.theirs(name) for name in names}
        assert len(theirs) == len(names) == count
        assert {one.ours(key) for key in theirs} == {*names}


def recipe_like(system: Any, components: list[str]) -> Any:
    class Full:
        model = system.model(preset="a14b")

    return Full()


def damaged(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Replace the JSON header of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def edited(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | changes))


def indexed(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    path = folder / INDEX
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "weight_map": change(values["weight_map"])}))


def tensors(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def one_value(path: Path, value: float) -> None:
    """The last of some tensor in the middle of the file."""

    def change(values: dict[str, Tensor]) -> dict[str, Tensor]:
        key = sorted(values)[len(values) // 2]
        values[key].view(-1)[-1] = value
        return values

    tensors(path, change)


def offsets(values: dict[str, Any], shift: int) -> dict[str, Any]:
    """Of the last tensor, moved."""
    name = max((key for key in values if key != "__metadata__"), key=lambda key: values[key]["data_offsets"][1])
    begin, end = values[name]["data_offsets"]
    return {**values, name: {**values[name], "data_offsets": [begin + shift, end + shift]}}


INDEX = "diffusion_pytorch_model.safetensors.index.json"
AUDIO = "audio_dit/diffusion_pytorch_model.safetensors"
SHARD = "video_dit/diffusion_pytorch_model-00002-of-00003.safetensors"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a component is missing": (lambda f: (f / "dual_tower_bridge").rename(f / "x"), "it lacks dual_tower_bridge"),
    "an expert is missing": (lambda f: (f / "video_dit_2").rename(f / "x"), "it lacks video_dit_2"),
    "config.json is missing": (lambda f: (f / "audio_dit/config.json").unlink(), r"audio_dit/config\.json"),
    "another class": (
        lambda f: edited(f / "audio_dit/config.json", _class_name="X"),
        "names the class 'X', and here it must be WanAudioModel",
    ),
    "another branch": (
        lambda f: edited(f / "video_dit/config.json", has_image_input=True),
        r"video_dit/config\.json: `has_image_input` is true, and must be false",
    ),
    "heads that no rotary table has": (
        lambda f: edited(f / "audio_dit/config.json", num_heads=8),
        "its config.json files describe no network: head_dim 3",
    ),
    "no size": (lambda f: edited(f / "audio_dit/config.json", dim="x"), "audio_dit/config.json: `dim` is 'x'"),
    "other sizes": (lambda f: edited(f / "audio_dit/config.json", ffn_dim=41), "has the shape .* config.json makes it"),
    "a Bridge of other towers": (
        lambda f: edited(f / "dual_tower_bridge/config.json", audio_hidden_dim=25),
        "`audio_hidden_dim` is 25, and must be 24",
    ),
    "another schedule": (
        lambda f: edited(f / "scheduler/scheduler_config.json", sigma_min=0.1),
        r"scheduler/scheduler_config\.json: `sigma_min` is 0\.1, and must be 0",
    ),
    "an unknown schedule": (
        lambda f: edited(f / "scheduler/scheduler_config.json", exponential_shift=True),
        "`exponential_shift` is true, which our schedule cannot follow",
    ),
    "a tensor is missing": (
        lambda f: tensors(f / AUDIO, lambda t: {k: v for k, v in t.items() if k != "head.modulation"}),
        r"audio_dit lacks 'head\.modulation' \(1 of 69 tensors in all\)",
    ),
    "a tensor is left over": (
        lambda f: tensors(f / AUDIO, lambda t: {**t, "img_emb.x": torch.zeros(1)}),
        r"holds 'img_emb\.x', which this model does not have \(1 such in all\)",
    ),
    "a tensor of another dtype": (
        lambda f: tensors(f / AUDIO, lambda t: {**t, "head.modulation": t["head.modulation"].to(torch.int8)}),
        r"'head\.modulation' is I8, and weights must be one of F32, BF16, F16",
    ),
    "truncated": (lambda f: damaged(f / AUDIO, lambda data: data[:-2]), "is damaged: .* truncated"),
    "too long": (lambda f: damaged(f / AUDIO, lambda data: data + b"x"), "its tensors end at byte"),
    "empty": (lambda f: damaged(f / AUDIO, lambda _: b""), "it has 0 bytes"),
    "a header that is no JSON": (
        lambda f: damaged(f / AUDIO, lambda data: data[:8] + b"x" + data[9:]),
        "its header is no JSON",
    ),
    "a huge header": (
        lambda f: damaged(f / AUDIO, lambda data: b"\xff" * 7 + b"\x7f" + data[8:]),
        "claims a header of",
    ),
    "overlapping tensors": (lambda f: header(f / AUDIO, lambda h: offsets(h, -2)), "the tensor before it ends at"),
    "offsets outside": (lambda f: header(f / AUDIO, lambda h: offsets(h, 2)), "truncated"),
    "a size that is not the shape's": (
        lambda f: header(f / AUDIO, lambda h: {**h, "head.modulation": {**h["head.modulation"], "shape": [1, 2, 9]}}),
        "has 96 bytes, and needs 36",
    ),
    "half of a surrogate": (
        lambda f: header(f / AUDIO, lambda h: {**h, "__metadata__": {"format": "\ud800"}}),
        r"audio_dit/\S+ is damaged: its header is no JSON",
    ),
    "more layers than can be described": (
        lambda f: edited(f / "audio_dit/config.json", num_layers=100_000),
        r"audio_dit/config\.json: `num_layers` is 100000, which is no size",
    ),
    "times of its own": (
        lambda f: edited(f / "model_index.json", expand_timesteps=True),
        "`expand_timesteps` is true, and must be false",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer/tokenizer.json").write_text("{}"),
        r"\S+/tokenizer/tokenizer\.json describes no tokenizer: Model missing",
    ),
    "the tokenizer of another encoder": (
        lambda f: edited(f / "text_encoder/config.json", vocab_size=9),
        r"tokenizer\.json has 10 tokens, and the text encoder has 9",
    ),
    "another pipeline": (
        lambda f: edited(f / "model_index.json", _class_name="FluxPipeline"),
        r"model_index\.json: `_class_name` is 'FluxPipeline', and must be \"MOVA\"",
    ),
    "a component of another class": (
        lambda f: edited(f / "model_index.json", audio_vae=["diffusers", "AutoencoderOobleck"]),
        r"model_index\.json: `audio_vae` must be of the class \w+, got 'AutoencoderOobleck'",
    ),
    "no pipeline": (lambda f: (f / "model_index.json").write_text("{}"), "`_class_name` is null, and must be"),
    "another video codec": (
        lambda f: edited(f / "video_vae/config.json", _class_name="AutoencoderKL"),
        r"video_vae/config\.json names the network 'AutoencoderKL', and here it must be AutoencoderKLWan",
    ),
    "another audio codec": (
        lambda f: edited(f / "audio_vae/config.json", _class_name="EncodecModel"),
        r"audio_vae/config\.json names the network 'EncodecModel', and here it must be DAC",
    ),
    "another text encoder": (
        lambda f: edited(f / "text_encoder/config.json", model_type="t5"),
        r"text_encoder/config\.json names the network 't5', and here it must be umt5",
    ),
    "a codec in two files": (
        lambda f: save_file({"x": torch.zeros(1)}, f / "audio_vae/other.safetensors"),
        "audio_vae: needed one safetensors file, found 2",
    ),
    "a text encoder whose index lies": (
        lambda f: (f / "text_encoder/model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"shared.weight": "model-00001-of-00002.safetensors"}})
        ),
        r"text_encoder/model\.safetensors is not named by model\.safetensors\.index\.json",
    ),
    "an index of another size": (
        lambda f: edited(f / "video_dit" / INDEX, metadata={"total_size": 3}),
        r"video_dit/\S+ says `total_size` 3, and the tensors of its files have \d+ bytes",
    ),
    "an index whose size is no number": (
        lambda f: edited(f / "video_dit" / INDEX, metadata={"total_size": "3 GB"}),
        "says `total_size` '3 GB', and the tensors",
    ),
    "an index with a list": (
        lambda f: edited(f / "video_dit" / INDEX, metadata=[3]),
        "`metadata` must be an object, and is a list of 1",
    ),
    "a NaN": (lambda f: one_value(f / SHARD, math.nan), r"video_dit/\S+: 'blocks\.\S+' holds a NaN or an infinity"),
    "an infinity": (lambda f: one_value(f / AUDIO, -math.inf), r"audio_dit/\S+: '\S+' holds a NaN or an infinity"),
    "a NaN in a codec": (
        lambda f: one_value(f / "text_encoder/model.safetensors", math.nan),
        r"text_encoder/model\.safetensors: '\S+' holds a NaN",
    ),
    "a list as a header": (lambda f: header(f / AUDIO, lambda _: []), "no JSON object"),
    "an index that names a missing file": (lambda f: (f / SHARD).unlink(), "which is no file there"),
    "an index that names a file outside": (
        lambda f: indexed(f / "video_dit", lambda m: {**m, "head.modulation": "../x.safetensors"}),
        "needed is the name of a file beside it",
    ),
    "an index that lies": (
        lambda f: indexed(f / "video_dit", lambda m: {**m, "x": m["head.modulation"]}),
        "says that 'x' is in .*, which does not hold it",
    ),
    "an index that leaves out": (
        lambda f: indexed(f / "video_dit", lambda m: {k: v for k, v in m.items() if k != "head.modulation"}),
        r"holds 'head\.modulation', which .* does not name",
    ),
    "a key in two shards": (
        lambda f: tensors(f / SHARD, lambda t: {**t, "blocks.0.ffn.0.bias": torch.zeros(80)}),
        r"'blocks\.0\.ffn\.0\.bias' is both in .*00001-of.* and in .*00002-of",
    ),
    "shards without an index": (
        lambda f: (f / "video_dit" / INDEX).unlink(),
        "has 3 safetensors files and no diffusion_pytorch_model.safetensors.index.json",
    ),
    "a pickle": (
        lambda f: (torch.save(load_file(f / AUDIO), f / "audio_dit/x.pth"), (f / AUDIO).unlink()),
        r"only x\.pth, a pickle that may run code: convert it, or give --pickle",
    ),
    "half of a codec": (lambda f: (f / "tokenizer").rename(f / "x"), "has text_encoder/ and lacks tokenizer/"),
    "a damaged codec": (
        lambda f: tensors(
            f / "video_vae/diffusion_pytorch_model.safetensors",
            lambda t: {k: v for k, v in t.items() if k != "quant_conv.bias"},
        ),
        r"lacks 1 of .* quant_conv\.bias",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_folders_are_refused_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    change, message = BAD[what]
    folder = mova_folder(tmp_path / "mova")
    change(folder)
    with pytest.raises((CheckpointError, DataError), match=message) as caught:
        imported(folder, tmp_path / "release")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mova"]


def test_an_index_need_not_say_its_size(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    for name, metadata in (("video_dit", {}), ("video_dit_2", {"total_size": 1.0 * bytes_of(folder / "video_dit_2")})):
        edited(folder / name / INDEX, metadata=metadata)
    imported(folder, tmp_path / "release")


def bytes_of(folder: Path) -> int:
    return sum(tensor.nbytes for tensor in tensors_of(folder).values())


@pytest.mark.parametrize("choices", [{"link": True}, {"pickle": True}, {"drop": ("img_emb.x",)}])
def test_a_nan_is_found_however_its_file_is_taken(tmp_path: Path, choices: dict[str, Any]) -> None:
    """Linked; read from a pickle; written again without a tensor. Not in what is left out."""
    folder = mova_folder(tmp_path / "mova")
    held = load_file(folder / AUDIO)
    extra = {"img_emb.x": torch.full((3,), math.nan)} if "drop" in choices else {}
    for name, value in (("good", 1.0), ("bad", math.nan)):
        held["head.modulation"].view(-1)[0] = value
        if "pickle" in choices:
            (folder / AUDIO).unlink(missing_ok=True)
            torch.save(held, folder / "audio_dit/audio.pth")
        else:
            save_file(held | extra, folder / AUDIO, metadata={"format": "pt"})
        if name == "good":
            imported(folder, tmp_path / name, **choices)
    with pytest.raises(CheckpointError, match=r"audio_dit/audio\.pth|diffusion.*: 'head\.modulation' holds a NaN"):
        imported(folder, tmp_path / "bad", **choices)
    assert not (tmp_path / "bad").exists()


def test_a_nan_is_found_under_other_names(tmp_path: Path) -> None:
    folder = diffusers_folder(tmp_path / "wan", codecs=False)
    one_value(sorted((folder / "transformer_2").glob("*.safetensors"))[-1], math.inf)
    with pytest.raises(CheckpointError, match=r"transformer_2/\S+: '\S+' holds a NaN or an infinity"):
        imported(folder, tmp_path / "release")


def test_a_codec_that_nothing_reads_stays_behind(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    for name in ("audio_dit", "dual_tower_bridge"):
        shutil.rmtree(folder / name)
    said: list[str] = []
    import_folder(folder, tmp_path / "release", Choices(geometry=GEOMETRY), SYSTEMS, say=said.append)
    assert "import:   audio codec: not read by video_pretraining, left out" in said
    assert {path.name for path in (tmp_path / "release/codecs").iterdir()} == {"video", "text"}


def test_only_what_is_taken_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the pickles and pictures that a download may have beside it."""
    folder = wan_folder(tmp_path / "wan")
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with (folder / "models_t5.pth").open("wb") as file:
        file.truncate(1 << 43)
    imported(folder, tmp_path / "release")
    usage = shutil.disk_usage(tmp_path)._replace(free=taken // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match="bytes are needed"):
        imported(folder, tmp_path / "other")


def test_what_may_be_left_out_is_named(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    tensors(folder / AUDIO, lambda t: {**t, "img_emb.x": torch.zeros(3)})
    release = imported(folder, tmp_path / "release", drop=("img_emb.*",))
    assert {name for name, _, _ in open_component(release, "audio")} == tower_shapes(SIZES.audio).keys()
    with pytest.raises(RecipeError, match=r"--drop 'text_emb\.x' matches no tensor"):
        imported(folder, tmp_path / "other", drop=("img_emb.*", "text_emb.x"))
    with pytest.raises(CheckpointError, match=r"--drop leaves out 'head\.head\.bias' of .*video_dit \(3 in all\)"):
        imported(folder, tmp_path / "other", drop=("img_emb.*", "head.*"))


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickle_of_plain_tensors_can_be_asked_for(tmp_path: Path, nested: bool) -> None:
    folder = mova_folder(tmp_path / "mova")
    held = load_file(folder / AUDIO)
    (folder / AUDIO).unlink()
    torch.save({"state_dict": held, "step": 3} if nested else held, folder / "audio_dit" / "audio.pth")
    said: list[str] = []
    import_folder(folder, tmp_path / "release", Choices(geometry=GEOMETRY, pickle=True), SYSTEMS, say=said.append)
    ours = load_component(tmp_path / "release", "audio")
    assert all(torch.equal(ours[key], tensor) for key, tensor in held.items())
    words = "69 tensors, 20,412 parameters, " + ("and state_dict, step" if nested else "nothing else")
    assert any(words in line for line in said)


def test_a_pickle_is_read_where_it_is_alone_and_asked_for(tmp_path: Path) -> None:
    folder = mova_folder(tmp_path / "mova")
    torch.save({"x": torch.zeros(1)}, folder / "audio_dit" / "other.bin")
    with pytest.raises(RecipeError, match="--pickle: no component here is a pickle alone: drop it"):
        imported(folder, tmp_path / "release", pickle=True)
    held = load_file(folder / AUDIO)
    (folder / AUDIO).unlink()
    torch.save(held, folder / "audio_dit" / "other.bin")
    assert load_component(imported(folder, tmp_path / "release", pickle=True), "audio").keys() == held.keys()


DYNAMIC = ("use_dynamic_shifting", "use_karras_sigmas", "use_beta_sigmas", "use_exponential_sigmas", "thresholding")


@pytest.mark.parametrize("key", DYNAMIC)
def test_a_schedule_of_diffusers_that_ours_cannot_follow(tmp_path: Path, key: str) -> None:
    folder = diffusers_folder(tmp_path / "wan")
    edited(folder / "scheduler/scheduler_config.json", **{key: True})
    with pytest.raises(CheckpointError, match=f"`{key}` is true, and must be false"):
        imported(folder, tmp_path / "release")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("harm"),))


def test_a_pickle_that_would_run_code_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = mova_folder(tmp_path / "mova")
    (folder / AUDIO).unlink()
    torch.save({"x": Harmful()}, folder / "audio_dit" / "audio.pth")
    with pytest.raises(CheckpointError, match="cannot be read as plain tensors"):
        imported(folder, tmp_path / "release", pickle=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mova"]


def test_a_wrong_place_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = made("wan")
    (tmp_path / "empty").mkdir()
    demixer = tmp_path / "demixer"
    demixer.mkdir()
    (demixer / "955717e8.th").touch()
    release = imported(folder, tmp_path / "release")
    for source, out, choices, message in (
        (tmp_path / "empty", "a", {}, "has no component of a known layout; needed are the folders of mova: video_dit"),
        (demixer, "a", {}, r"has no component of a known layout; .*for \*.th of a demixer give --as htdemucs"),
        (demixer, "a", {"layout": "demucs"}, "--as 'demucs' is not a layout; one of .*Did you mean 'htdemucs'"),
        (tmp_path / "none", "a", {}, "is not a folder"),
        (release, "a", {}, "is a release already"),
        (folder, "release", {}, "exists: choose a new folder"),
        (folder, str(folder / "x"), {}, "lies inside"),
        (folder, "a", {"layout": "won"}, "--as 'won' is not a layout; one of .*Did you mean 'wan'"),
        (folder, "a", {"layout": "mova"}, "has no component of a known layout; needed are the folders of mova"),
        (folder, "a", {"name": "a b"}, "import: --name 'a b' cannot name a release"),
    ):
        with pytest.raises((CheckpointError, RecipeError), match=message):
            imported(source, tmp_path / out, **choices)
    with pytest.raises(RecipeError, match="import: `--geometry` is 'x'"):
        import_folder(folder, tmp_path / "a", Choices(geometry="x"), SYSTEMS, say=lambda _: None)
    assert not (tmp_path / "a").exists()
    assert not (folder / "x").exists()
