"""A system from outside of the package does all that MOVA does, given as one more in a tuple."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fifth import FIFTH
from torch import Tensor

from talkies.checkpoints.release import read_release
from talkies.config import RecipeError
from talkies.config.decode import decode_values
from talkies.config.numbers import LIMIT
from talkies.data.shards import ShardSet
from talkies.generate.request import Request
from talkies.models.systems import SYSTEMS
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.planning.plan import plan
from talkies.prepare.config import PrepareConfig
from talkies.recipe.check import check
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe, decode_phase_values
from talkies.runs.building import restore_model
from talkies.runs.export_source import layout_of, open_exported
from talkies.runs.import_choices import Choices
from talkies.runs.opened import Source
from talkies.runs.place import Place
from talkies.runs.records import RESULT
from talkies.runs.run_context import RunContext, prepare_data
from talkies.runs.run_evaluation import evaluate_source
from talkies.runs.run_import import import_folder
from talkies.runs.run_phase import InterruptedRunError, run_phase
from talkies.runs.run_promotion import promote_run
from talkies.runs.run_sample import make_clip
from talkies.runs.source import open_source
from talkies.runs.validation import batches, heldout_losses
from talkies.streams.batch import Condition, Stream
from talkies.tracking.registry import resolve

FIVE = (*SYSTEMS, FIFTH)
CODECS = {"audio": {"kind": "linear_audio"}, "text": {"kind": "bytes"}}
PREPARE: dict[str, Any] = {
    "kind": "prepare",
    "name": "voices",
    "system": "fifth",
    "sources": {"faces": {"kind": "synthetic", "clips": 12, "heldout": 4}},
    "codecs": CODECS,
    "sets": {
        "train": {"source": "faces", "geometry": "32x32x25@12.5", "modalities": ["audio"]},
        "heldout": {"source": "faces", "split": "heldout", "geometry": "32x32x25@12.5", "modalities": ["audio"]},
    },
    "fit_sets": ["train"],
    "fit_clips": 8,
}
PHASE: dict[str, Any] = {
    "name": "speaking",
    "phase": {"kind": "speaking"},
    "model": {"kind": "fifth", "preset": "tiny"},
    "codecs": CODECS,
    "optimizer": {"lr": {"all": 1e-3}},
    "data": {"shards": "train", "heldout": "heldout", "geometry": "32x32x25@12.5"},
    "steps": {"max": 4, "global_batch": 4, "checkpoint_every": 2, "log_every": 2},
    "validation": {"every": 4, "clips": 4, "samples": 1, "sampling_steps": 2, "final_clips": 4},
    "sampling": {"steps": 2, "scales": {"text": 2.0}},
    "tracking": {"experiment": "fifth", "register": "fifth-voice"},
}
RANKS = Ranks(ALONE)


def recipe(**changes: Any) -> PhaseRecipe:
    return decode_phase_values({**PHASE, **changes}, FIVE, where="fifth.yaml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(runs: Path) -> Path:
    context = RunContext(runs=runs, store="", artifacts=None, registry=Path, bar=False, systems=FIVE)
    return prepare_data(decode_values(PrepareConfig, PREPARE, where="fifth"), context, recipe_folder=runs)[0]


def place(runs: Path, data: Path, name: str) -> Place:
    store = f"sqlite:///{runs / 'mlflow.db'}"
    return Place(folder=runs / name / "0001", data_root=data, store=store, artifacts=runs / "artifacts")


def trained(runs: Path, data: Path, name: str, phase: PhaseRecipe, **options: Any) -> Path:
    where = place(runs, data, name)
    run_phase(phase, where, siblings={}, registry=Path, bar=False, **options)
    return where.folder


@pytest.fixture(scope="module")
def run(runs: Path, data: Path) -> Path:
    return trained(runs, data, "whole", recipe())


def weights(folder: Path) -> dict[str, str]:
    files = read_release(folder / "release")["files"]
    ours = {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}
    return {name: sha256 for name, sha256 in ours.items() if not name.startswith("codecs/")}


def test_shards_store_what_the_system_asks_for(data: Path) -> None:
    shards = ShardSet.open(data / "sets" / "train")
    assert (set(shards.grids), set(shards.null_texts), len(shards)) == ({"audio"}, {"text"}, 8)


def test_it_is_planned() -> None:
    phase = recipe()
    planned = plan(phase, components=parts(phase).components, grids=check(phase))
    built = FIFTH.network().build(phase, {"voice"})
    assert sum(part.built for part in planned.parts) == sum(p.numel() for p in built.parameters())
    assert planned.memory.total > 0


@pytest.mark.slow
def test_a_stopped_run_ends_like_a_whole_one(runs: Path, data: Path, run: Path) -> None:
    with pytest.raises(InterruptedRunError):
        trained(runs, data, "stopped", recipe(), stop_at=2)
    assert weights(trained(runs, data, "stopped", recipe())) == weights(run)


def test_it_trains_an_adapter_that_samples(runs: Path, data: Path, run: Path, tmp_path: Path) -> None:
    adapted = recipe(
        name="adapted", train={"kind": "lora", "rank": 2, "targets": ["q", "v"]}, parents={"base": str(run)}
    )
    folder = trained(runs, data, "adapted", adapted)
    assert weights(folder).keys() == {"adapter/adapter_model.safetensors"}
    base, other = (open_source(str(path), Path, systems=FIVE) for path in (run, folder))
    assert other.recipe.system is FIFTH
    moved = [p for name, p in other.model.named_parameters() if "lora_B" in name]
    assert moved
    assert any(bool(p.any()) for p in moved)
    for source in (base, other):
        request = Request(prompts={"text": "a girl talks"}, id="one")
        out = tmp_path / f"{source.name}.mp4"
        make_clip(source, request, source.recipe.sampling, seed=0, out=out, ranks=RANKS, say=lambda _: None)
        assert out.stat().st_size > 1000


def test_it_is_measured_promoted_and_opened_from_the_registry(runs: Path, data: Path, run: Path) -> None:
    where = place(runs, data, "whole")
    store = where.store
    found = {"registry": partial(resolve, uri=store, download_to=runs / "down"), "tracked": lambda *_: where}
    given: dict[str, Any] = {**found, "ranks": RANKS, "systems": FIVE, "say": lambda _: None}
    metrics = evaluate_source(str(run), clips=4, seed=0, **given)
    assert metrics["evaluation/heldout/audio"] > 0
    assert metrics["evaluation/frechet_audio"] > 0
    spec = promote_run(run, expect=None, **given)
    assert spec == "models:/fifth-voice@champion"
    source = open_source(spec, found["registry"], systems=FIVE)
    trained_model = open_source(str(run), Path, systems=FIVE).model
    for name, value in trained_model.state_dict().items():
        assert torch.equal(source.model.state_dict()[name], value)


def predicted(source: Source) -> Tensor:
    """At one noise level, for noise and a prompt."""
    torch.manual_seed(0)
    grid = source.grids["audio"]
    sound = Stream(latent=torch.randn(1, *grid.latent_shape), time=torch.tensor([0.5]), grid=grid)
    with torch.no_grad():
        texts = {"text": source.codecs.text["text"].encode(["a girl talks"])}
        return source.denoiser({"audio": sound}, Condition(texts=texts))["audio"]


def mapped(tensor: Tensor) -> str:
    """The file that a tensor is a view of, or nothing."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return line.split()[5] if len(line.split()) > 5 else ""
    return ""


@pytest.mark.parametrize("opened", ["release", "checkpoint"])
def test_it_is_sampled_with_its_weights_in_host_memory(run: Path, opened: str) -> None:
    spec = str(run if opened == "release" else sorted((run / "checkpoints").glob("step-*"))[-1])
    whole, block, component = (
        open_source(spec, Path, systems=FIVE, offload=how) for how in (None, "block", "component")
    )
    assert (whole.recipe.sampling.offload, block.recipe.sampling.offload) == ("none", "block")
    assert torch.equal(predicted(whole), predicted(block))
    assert torch.equal(predicted(whole), predicted(component))
    files = {Path(mapped(p)).name for p in [q for unit in block.model.voice.blocks for q in unit.parameters()]}
    assert (files == {"voice.safetensors"}) == (opened == "release")


def test_several_processes_do_not_offload(run: Path) -> None:
    ranks = Ranks(ALONE)
    ranks.world = replace(ALONE, size=2)
    ranks.after_main = lambda work: work(True)  # type: ignore[method-assign, assignment]
    with pytest.raises(RecipeError, match=r"`sampling\.offload` is block, but 2 processes share the weights"):
        open_source(str(run), Path, ranks, systems=FIVE, offload="block")


def test_its_precision_holds_when_it_is_sampled(runs: Path, data: Path) -> None:
    """Trained in bf16, it computes what autocast makes of its fp32 weights, and holds half of their bytes."""
    low = trained(runs, data, "low", recipe(precision="bf16"))
    source = open_source(str(low), Path, systems=FIVE)
    exact = restore_model(replace(source.recipe, precision="fp32"), low / "release", None).eval()
    with torch.autocast("cpu", torch.bfloat16):
        wanted = predicted(replace(source, denoiser=exact))
    assert torch.equal(predicted(source), wanted)
    assert not torch.equal(predicted(replace(source, denoiser=exact)), wanted)
    block = open_source(str(low), Path, systems=FIVE, offload="block")
    assert torch.equal(predicted(block), wanted)
    batch = batches(ShardSet.open(data / "sets" / "heldout"), 4, ("audio",))
    losses, single = (
        heldout_losses(source.recipe, denoiser, batch, seed=source.recipe.seed) for denoiser in (source.denoiser, exact)
    )
    validated = RESULT.read(low / "result.json").metrics
    assert losses["heldout/audio"] == validated["heldout/audio"] != single["heldout/audio"]
    names = {name for name, p in source.model.named_parameters() if p.dtype is torch.bfloat16}
    assert names == {name for name, _ in exact.named_parameters() if "norm" not in name}


def test_without_it_the_recipe_and_the_run_are_refused_by_name(run: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown kind 'fifth' at `model\.kind` .*; one of mova"):
        decode_phase_values(PHASE, SYSTEMS, where="fifth.yaml")
    with pytest.raises(Exception, match="unknown kind 'fifth'"):
        open_source(str(run), Path, systems=SYSTEMS)


def test_what_its_check_refuses_is_refused(data: Path) -> None:
    odd = recipe(model={"kind": "fifth", "width": 15})
    with pytest.raises(RecipeError, match=r"`model\.width` is 15; it must be even"):
        check(odd)
    with pytest.raises(RecipeError, match=r"unknown key `sampling\.scales\.bridge`; known: text"):
        check(replace(recipe(), sampling=replace(recipe().sampling, scales={"bridge": 2.0})))
    with pytest.raises(RecipeError, match="`seed`"):
        recipe(seed=LIMIT)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({"skip_layer": {"layers": [0]}}, r"`sampling\.skip_layer\.layers` has 0, but this model can skip no blocks$"),
        ({"reuse": {"attention_every": 2}}, r"`sampling\.reuse\.attention_every` .* reuses no attention: drop it$"),
        ({"windows": {}}, r"`sampling\.windows` is for videos that are made for a sound"),
    ],
)
def test_sampling_that_the_system_cannot_do_is_refused(sampling: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check(recipe(sampling=sampling))


def test_it_has_no_layouts_of_released_folders(run: Path, tmp_path: Path) -> None:
    """Neither a way out nor one in."""
    exported = open_exported(str(run), Path, FIVE)
    with pytest.raises(RecipeError, match=r": talkies knows no released folders of fifth: drop --layout$"):
        layout_of(exported, "mova")
    (tmp_path / "in").mkdir()
    for layout in (None, "fifth"):
        with pytest.raises(RecipeError, match=r"^import: talkies knows no released folders of fifth$"):
            import_folder(tmp_path / "in", tmp_path / "out", Choices(layout=layout), (FIFTH,), say=lambda _: None)
    with pytest.raises(RecipeError, match=r"--as 'fifth' is not a layout; one of mova, wan, diffusers"):
        import_folder(tmp_path / "in", tmp_path / "out", Choices(layout="fifth"), FIVE, say=lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
