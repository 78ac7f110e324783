"""A released CogVideoX goes in and out: two components lie in one folder, and what it says decides the objective."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from cog_toy import their_rope
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from made_cogvideox import GEOMETRY, KINDS, SCHEDULE, cogvideox_folder
from made_folders import folder_bytes, write_json
from made_releases import adapted
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from talkies.checkpoints.release import load_component, read_release
from talkies.cli.main import run
from talkies.config import CheckpointError, RecipeError
from talkies.config.source import load
from talkies.flow.config import FlowConfig, ShiftedSchedule
from talkies.models.cogvideox.config import PRESETS
from talkies.models.cogvideox.released import config
from talkies.models.mtv.config import MtvConfig
from talkies.models.mtv.layouts import LAYOUTS
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.building import build_model, restore_model
from talkies.runs.export_source import Exported, chosen, open_exported
from talkies.runs.import_choices import Choices
from talkies.runs.parents import open_parents
from talkies.runs.recorded import recipe_of_release
from talkies.runs.run_export import export_layout
from talkies.runs.run_import import import_folder
from talkies.streams import Grid
from talkies.streams.batch import Condition, Stream, Text
from talkies.training.config import LoraConfig

RECIPES = Path(__file__).parents[2] / "recipes" / "mtv"
INDEX = "transformer/diffusion_pytorch_model.safetensors.index.json"
BACKBONE = ("video", "attention")


def imported(folder: Path, out: Path, *, said: list[str] | None = None, **choices: Any) -> Path:
    say = (said if said is not None else []).append
    import_folder(folder, out, Choices(geometry=GEOMETRY, **choices), SYSTEMS, say=say)
    return out


def exported(release: Path, out: Path, **options: Any) -> Path:
    given = {"components": None, "how": None, "shard_size": None, "codecs": True} | options
    export_layout(open_exported(str(release), Path, SYSTEMS), "cogvideox", out, **given)
    return out


def recipe_of(release: Path) -> PhaseRecipe:
    return recipe_of_release(release, read_release(release), SYSTEMS)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def edited(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of each kind, made once, not to be changed."""
    root = tmp_path_factory.mktemp("made")

    def get(kind: str) -> Path:
        return root / kind if (root / kind).exists() else cogvideox_folder(root / kind, kind=kind)

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_byte_for_byte(made: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    release = imported(made(kind), tmp_path / "release")
    assert len(read_release(release)["components"]["attention"]["shards"]) > 1
    assert folder_bytes(exported(release, tmp_path / "back")) == folder_bytes(made(kind))


def test_one_file_comes_back_as_one(tmp_path: Path) -> None:
    folder = cogvideox_folder(tmp_path / "source", shard_size="1GB")
    release = imported(folder, tmp_path / "release")
    assert not (folder / INDEX).exists()
    assert folder_bytes(exported(release, tmp_path / "back")) == folder_bytes(folder)


@pytest.mark.parametrize("options", [("--drop", "foo"), ()])
def test_files_of_other_names_and_what_is_left_out_change_no_tensor(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The index that was imported would not fit what is written."""
    folder = cogvideox_folder(tmp_path / "source")
    expected = tensors_of(folder / "transformer")
    values = json.loads((folder / INDEX).read_text())
    names = {name: f"part{name[-25:-20]}.safetensors" for name in {*values["weight_map"].values()}}
    for name, new in names.items():
        (folder / "transformer" / name).rename(folder / "transformer" / new)
    weight_map = {key: names[name] for key, name in values["weight_map"].items()}
    if options:
        first = folder / "transformer" / min(names.values())
        save_file(load_file(first) | {"foo": torch.zeros(1)}, first)
        weight_map["foo"] = first.name
    write_json(folder / INDEX, {"weight_map": weight_map})
    release = imported(folder, tmp_path / "release", drop=options[1:])
    found = tensors_of(exported(release, tmp_path / "back") / "transformer")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_is_in_one_component(made: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    said: list[str] = []
    release = imported(made(kind), tmp_path / "release", said=said)
    theirs, layout = tensors_of(made(kind) / "transformer"), LAYOUTS["cogvideox"]
    info = read_release(release)
    left = dict(theirs)
    for name in BACKBONE:
        for key, tensor in load_component(release, name).items():
            assert torch.equal(left.pop(layout.components[name].theirs(key)), tensor)
        (line,) = (line for line in said if f"transformer, {name}: " in line)
        assert f"{info['components'][name]['parameters']:,} parameters in BF16" in line
    assert not left
    assert info["components"].keys() == {*BACKBONE}
    assert info["imported"] == {"layout": "cogvideox", "folders": dict.fromkeys(BACKBONE, "transformer")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_says_what_the_folder_says(made: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    recipe = recipe_of(imported(made(kind), tmp_path / "release"))
    assert (recipe.phase.kind, recipe.precision, recipe.data.geometry) == ("video_pretraining", "bf16", GEOMETRY)
    assert recipe.model.shape.backbone == KINDS[kind]
    target = recipe.flow.target
    assert (target.kind, target.steps, recipe.flow.schedule.kind) == ("zero_snr_v_prediction", 1000, "uniform_grid")
    assert target.snr_shift == (3.0 if kind == "2b" else 1.0)
    assert (target.beta_start, target.beta_end) == (0.00085, 0.012)
    sampling = recipe.sampling
    assert (sampling.steps, sampling.schedule.kind, sampling.sampler.kind) == (50, "uniform", "ddim")
    assert sampling.scales == {"text": 6.0}
    text = recipe.codecs["text"]
    assert (text.kind, text.length, text.padding) == ("t5", 8, "encoded")
    assert recipe.codecs["video"].kind == "cogvideox"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_released_sizes_are_those_of_presets(preset: str) -> None:
    """Their config.json, both ways."""
    layout, values = LAYOUTS["cogvideox"], json.loads(json.dumps(config(PRESETS[preset])))
    model = layout.model(dict.fromkeys(BACKBONE, values), {})
    assert (model["preset"], model["backbone"]) == (f"mtv-{preset}", None)
    with torch.device("meta"):
        theirs = CogVideoXTransformer3DModel.from_config(values).config
    assert {key: theirs[key] for key in values if key != "_class_name"} == {
        key: value for key, value in values.items() if key != "_class_name"
    }


def test_the_scheduler_for_sde_is_read_and_written(tmp_path: Path) -> None:
    folder = cogvideox_folder(tmp_path / "source")
    edited(folder / "scheduler/scheduler_config.json", _class_name="CogVideoXDPMScheduler", snr_shift_scale=2.5)
    recipe = recipe_of(imported(folder, tmp_path / "release"))
    assert (recipe.sampling.sampler.kind, recipe.flow.target.snr_shift) == ("dpm_sde", 2.5)
    written = LAYOUTS["cogvideox"].written(recipe.model, BACKBONE, recipe.sampling, recipe.flow)
    schedule = written["scheduler/scheduler_config.json"]
    assert (schedule["_class_name"], schedule["snr_shift_scale"]) == ("CogVideoXDPMScheduler", 2.5)
    assert schedule | dict(SCHEDULE) == schedule
    assert written["model_index.json"]["scheduler"] == ["diffusers", "CogVideoXDPMScheduler"]


def answers(kind: str, release: Path, network: Any, *, adapter: Path | None = None) -> tuple[Tensor, Tensor]:
    """What our network of the release, with an adapter, and diffusers' predict, in fp32."""
    recipe, sizes = replace(recipe_of(release), precision="fp32"), KINDS[kind]
    torch.manual_seed(0)
    grid = Grid(channels=16, shape=(3, 4, 6), rate=Fraction(2))
    stream = Stream(latent=torch.randn(2, *grid.latent_shape), time=torch.tensor([0.25, 0.875]), grid=grid)
    text = torch.randn(2, sizes.text_length, sizes.text_dim)
    room = torch.zeros(2, sizes.in_channels - sizes.out_channels, *grid.shape)
    given = Condition(texts={"text": Text(embedding=text, length=torch.tensor([sizes.text_length] * 2))})
    if adapter is not None:
        recipe = replace(recipe_of(adapter), precision="fp32")
    model = restore_model(recipe, release, adapter and adapter / "adapter")
    with torch.no_grad():
        ours = model({"video": stream}, given)["video"]
        found = network(
            hidden_states=torch.cat((stream.latent, room), 1).transpose(1, 2),
            encoder_hidden_states=text,
            timestep=1000 * stream.time - 1,
            image_rotary_emb=None if kind == "2b" else their_rope(sizes, grid.shape),
        )
    return ours, found.sample.transpose(1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_diffusers_computes_from_an_export_what_the_import_does(
    made: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    release = imported(made(kind), tmp_path / "release")
    out = exported(release, tmp_path / "out")
    network = CogVideoXTransformer3DModel.from_pretrained(out / "transformer", torch_dtype=torch.float32).eval()
    ours, theirs = answers(kind, release, network)
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    assert 0.01 < ours.std() < 100, "it says something"


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "CogVideoX1.5": ("transformer/config.json", {"patch_size_t": 2}, "`patch_size_t` is 2, and must be null"),
    "its image condition": ("transformer/config.json", {"ofs_embed_dim": 512}, "`ofs_embed_dim` is 512"),
    "no patch bias": ("transformer/config.json", {"patch_bias": False}, "`patch_bias` is false, and must be true"),
    "learned alone": (
        "transformer/config.json",
        {"use_rotary_positional_embeddings": False, "use_learned_positional_embeddings": True},
        "learned positions need rotary ones",
    ),
    "a narrow head": ("transformer/config.json", {"attention_head_dim": 8}, "rotary positions need a multiple of 16"),
    "no size": ("transformer/config.json", {"num_layers": 0}, "`num_layers` is 0, which is no size"),
    "an odd sample": ("transformer/config.json", {"sample_height": 5}, "is not divisible by the patch"),
    "a deeper network": ("transformer/config.json", {"num_layers": 4}, r"transformer lacks 'transformer_blocks\.3\."),
    "another pipeline": ("model_index.json", {"_class_name": "X"}, "must be \"CogVideoXPipeline\""),
    "another encoder": ("model_index.json", {"text_encoder": ["a", "X"]}, "must be of the class T5EncoderModel"),
    "epsilon": ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "`prediction_type` is 'epsilon'"),
    "leading": ("scheduler/scheduler_config.json", {"timestep_spacing": "leading"}, "must be \"trailing\""),
    "linear": ("scheduler/scheduler_config.json", {"beta_schedule": "linear"}, "`beta_schedule` is 'linear'"),
    "betas": ("scheduler/scheduler_config.json", {"beta_end": 2}, "`beta_end` is 2, and must lie"),
    "given betas": ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}, "`trained_betas`"),
    "a solver": ("scheduler/scheduler_config.json", {"_class_name": "X"}, "one of CogVideoXDDIMScheduler, Cog"),
    "a wide VAE": ("vae/config.json", {"latent_channels": 8}, "its video codec has channels 8"),
    "a wide text": ("text_encoder/config.json", {"d_model": 64}, "its text codec has dim 64"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_the_first_cogvideox_is_refused_by_its_key(
    made: Callable[[str], Path], tmp_path: Path, what: str
) -> None:
    file, changes, message = BAD[what]
    folder = shutil.copytree(made("5b"), tmp_path / "source")
    edited(folder / file, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        imported(folder, tmp_path / "release")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("key", ["prediction_type", "timestep_spacing", "clip_sample", "rescale_betas_zero_snr"])
def test_a_key_that_is_missing_counts_as_the_default_of_diffusers(
    made: Callable[[str], Path], tmp_path: Path, key: str
) -> None:
    folder = shutil.copytree(made("5b"), tmp_path / "source")
    path = folder / "scheduler/scheduler_config.json"
    write_json(path, {name: value for name, value in json.loads(path.read_text()).items() if name != key})
    with pytest.raises(CheckpointError, match=f"scheduler_config.json: `{key}` is .*, and must be"):
        imported(folder, tmp_path / "release")


def test_without_a_schedule_nothing_says_what_is_predicted(tmp_path: Path) -> None:
    folder = cogvideox_folder(tmp_path / "source")
    (folder / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"scheduler_config\.json is missing, which says what the network predicts"
    ):
        imported(folder, tmp_path / "release")


@pytest.mark.parametrize("key", ["foo", "transformer_blocks.0.attn1.to_x.weight", "patch_embed.pos_embedding"])
def test_a_tensor_of_neither_component_is_refused(tmp_path: Path, key: str) -> None:
    folder = cogvideox_folder(tmp_path / "source", shard_size="1GB", codecs=False)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {key: torch.zeros(1)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"holds '{key}', which this model does not have \(1 such in all\)"):
        imported(folder, tmp_path / "release")


@pytest.mark.parametrize("key", ["transformer_blocks.1.attn1.to_v.weight", "proj_out.bias"])
def test_a_tensor_of_either_component_is_missed(tmp_path: Path, key: str) -> None:
    folder = cogvideox_folder(tmp_path / "source", shard_size="1GB", codecs=False)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    with pytest.raises(CheckpointError, match=f"--drop leaves out '{key}'"):
        imported(folder, tmp_path / "release", drop=[key])
    save_file({name: value for name, value in load_file(path).items() if name != key}, path)
    with pytest.raises(CheckpointError, match=f"lacks '{key}'"):
        imported(folder, tmp_path / "release")


def test_the_pipeline_of_wan_with_one_transformer_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = cogvideox_folder(tmp_path / "source", codecs=False)
    edited(folder / "transformer/config.json", _class_name="WanTransformer3DModel")
    with pytest.raises(CheckpointError, match="it lacks transformer_2"):
        imported(folder, tmp_path / "release")


def steering(release: Path, **sizes: Any) -> PhaseRecipe:
    """recipes/mtv/basic_face.yaml over a small release, whose `sizes` may be changed."""
    source = load(RECIPES / "basic_face.yaml", [f"parents.video={release}"])
    model = json.loads((release / "release.json").read_text())["model"]
    less = {"features": 24, "reach": 0, "convolution": "per_token", "backbone": {**model["backbone"], **sizes}}
    source.values["model"] = {**model, **less}
    source.values["codecs"]["text"] |= {"dim": 32, "length": 8}
    source.values["codecs"]["sound"] |= {"kind": "wav2vec2", "channels": 24}
    source.values["data"]["geometry"] = GEOMETRY
    return decode_phase(source, SYSTEMS)


def test_it_is_the_parent_of_the_first_stage(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Both components come from it, and the control begins anew: what it does is nothing at first."""
    release = imported(made("5b"), tmp_path / "release")
    recipe = steering(release)
    parents = open_parents(recipe, {}, Path)
    assert parents.keys() == {*BACKBONE}
    state = build_model(recipe, parents).state_dict()
    for component in BACKBONE:
        for key, tensor in load_component(release, component).items():
            held = state[f"{component}.{key}"]
            assert torch.equal(held, tensor.to(held.dtype))
    assert any(name.startswith("control.") for name in state)
    wider = steering(release, heads=4)
    with pytest.raises(CheckpointError, match=r"of another architecture: video\.heads is 2"):
        open_parents(wider, {}, Path)


def test_half_of_the_folder_is_not_written(made: Callable[[str], Path], tmp_path: Path) -> None:
    release = imported(made("5b"), tmp_path / "release")
    with pytest.raises(RecipeError, match=r"leaves out attention, and transformer/ .* holds video, attention together"):
        exported(release, tmp_path / "out", components=["video"])


def test_a_sample_is_made(made: Callable[[str], Path], tmp_path: Path) -> None:
    words = ("sample", imported(made("2b"), tmp_path / "release"), "--prompt", "a red face", "--steps", "2")
    assert run([*map(str, words), "--out", str(tmp_path / "a.mp4")]) == 0
    assert (tmp_path / "a.mp4").stat().st_size > 1000


def test_diffusers_opens_the_parts_of_an_export(made: Callable[[str], Path], tmp_path: Path) -> None:
    out = exported(imported(made("2b"), tmp_path / "release"), tmp_path / "out")
    pipeline = CogVideoXPipeline.from_pretrained(out, text_encoder=None, tokenizer=None)
    assert pipeline.scheduler.config.snr_shift_scale == 3.0
    assert pipeline.vae.config.latent_channels == 16


@pytest.mark.parametrize("how", ["merge", "apart"])
def test_an_adapter_of_both_components_goes_out(made: Callable[[str], Path], tmp_path: Path, how: str) -> None:
    """Merged, or apart for PEFT, which knows one network: one adapter."""
    release = imported(made("5b"), tmp_path / "release")
    train = LoraConfig(rank=2, alpha=3, targets=("q", "k", "v", "o", "ffn.0"))
    adapter = adapted(tmp_path / "adapter", release, None, recipe=replace(recipe_of(release), train=train))
    out = exported(adapter, tmp_path / "out", how=how, codecs=False)
    network = CogVideoXTransformer3DModel.from_pretrained(out / "transformer", torch_dtype=torch.float32).eval()
    plain = answers("5b", release, network)[0]
    if how == "merge":
        merged = network
    else:
        assert folder_bytes(out / "transformer") == folder_bytes(made("5b") / "transformer")
        merged = PeftModel.from_pretrained(network, out / "adapter" / "transformer").eval()
    ours, theirs = answers("5b", release, merged, adapter=adapter)
    assert (ours - theirs).norm() < (2e-2 if how == "merge" else 1e-5) * theirs.norm()
    assert (plain - theirs).norm() > 0.1 * theirs.norm(), "it does something"


def test_a_model_that_is_none_of_the_layout_is_not_written(made: Callable[[str], Path], tmp_path: Path) -> None:
    recipe, layout = recipe_of(imported(made("5b"), tmp_path / "release")), LAYOUTS["cogvideox"]
    given: dict[str, tuple[Any, str]] = {
        "flow": (FlowConfig(), "`flow.target.kind` is velocity"),
        "sampling": (replace(recipe.sampling, schedule=ShiftedSchedule()), "`sampling.schedule.kind` is shifted"),
        "model": (MtvConfig(preset="toy-wan"), "the backbone of `model.preset` toy-wan is a tower of Wan"),
    }
    for key, (value, words) in given.items():
        parts = {"model": recipe.model, "sampling": recipe.sampling, "flow": recipe.flow} | {key: value}
        with pytest.raises(ValueError, match=re.escape(words)):
            layout.written(components=BACKBONE, **parts)


def test_a_release_on_a_tower_of_wan_has_no_such_layout(made: Callable[[str], Path], tmp_path: Path) -> None:
    """Whichever of its components is asked for."""
    release = imported(made("5b"), tmp_path / "release")
    recipe, held = replace(recipe_of(release), model=MtvConfig(preset="toy-wan")), {"components": ["control", "video"]}
    ours = Exported(release=release, whole=release, recipe=recipe, info={}, held=held)
    for wanted in (None, ["video"]):
        with pytest.raises(RecipeError, match=r"^export: a cogvideox folder cannot say .* Wan, which has no layout$"):
            chosen(ours, LAYOUTS["cogvideox"], "cogvideox", wanted)
