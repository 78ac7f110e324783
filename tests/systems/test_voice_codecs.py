"""A codec that is pretrained and has a fitted part, and ByT5, through the life of a run: both parts are found by
preparation, training, releases and sampling."""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fifth import FIFTH

from talkies.checkpoints.release import read_release
from talkies.codecs.fitted import fitted_identity
from talkies.config import DataError, RecipeError
from talkies.config.decode import decode_values
from talkies.data.shards import ShardSet
from talkies.generate.request import Request
from talkies.models.mova.layouts import MOVA_FOLDER
from talkies.models.systems import SYSTEMS
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.prepare.config import PrepareConfig
from talkies.prepare.pipeline import Report, prepare
from talkies.recipe.config import PhaseRecipe, decode_phase_values
from talkies.runs.export_codecs import codec_files
from talkies.runs.inputs_record import check_release
from talkies.runs.place import Place
from talkies.runs.release_codecs import carried
from talkies.runs.run_phase import run_phase
from talkies.runs.run_promotion import promote_run
from talkies.runs.run_sample import make_clip
from talkies.runs.source import lacking, open_source
from talkies.tracking.registry import resolve

sys.path.append(str(Path(__file__).parents[1] / "codecs"))

from small_codecs import oobleck, t5

pytestmark = pytest.mark.slow
SIX = (*SYSTEMS, FIFTH)
SET = {"source": "faces", "geometry": "32x32x25@12.5", "modalities": ["audio"]}


def codecs(weights: Path) -> dict[str, Any]:
    voice = {"kind": "oobleck", "channels": 4, "sample_rate": 16000, "hop": 512, "weights": str(weights / "vae")}
    return {"audio": voice, "text": {"kind": "byt5", "dim": 32, "length": 256, "weights": str(weights / "byt5")}}


@dataclass(frozen=True)
class Made:
    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def run(self) -> Path:
        return self.root / "runs" / "voice" / "0001"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    def prepared(self, to: str = "data", *, weights: str = "weights", taken: str | None = None) -> Report:
        values = {
            "kind": "prepare",
            "name": "voices",
            "system": "fifth",
            "sources": {"faces": {"kind": "synthetic", "clips": 12, "heldout": 4}},
            "codecs": codecs(self.root / weights),
            "sets": {"train": SET, "heldout": {**SET, "split": "heldout"}},
            **({"fit_sets": ["train"], "fit_clips": 8} if taken is None else {"codecs_from": taken}),
        }
        return prepare(
            decode_values(PrepareConfig, values, where="voices"),
            self.root / to,
            systems=SIX,
            recipe_folder=self.root,
            progress=False,
            codecs=None if taken is None else self.root / taken / "codecs",
        )

    def recipe(self) -> PhaseRecipe:
        values = {
            "name": "voice",
            "phase": {"kind": "speaking"},
            "model": {"kind": "fifth", "preset": "tiny"},
            "codecs": codecs(self.weights),
            "optimizer": {"lr": {"all": 1e-3}},
            "data": {"shards": "train", "heldout": "heldout", "geometry": "32x32x25@12.5"},
            "steps": {"max": 2, "global_batch": 4, "checkpoint_every": 1},
            "validation": {"every": 2, "clips": 4, "samples": 1, "sampling_steps": 2, "final_clips": 4},
            "sampling": {"steps": 2, "scales": {"text": 2.0}},
            "tracking": {"experiment": "voice", "register": "voice"},
        }
        return decode_phase_values(values, SIX, where="voice.yaml")

    @property
    def place(self) -> Place:
        store = f"sqlite:///{self.root / 'mlflow.db'}"
        return Place(folder=self.run, data_root=self.data, store=store, artifacts=self.root / "artifacts")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Weights, data and a finished run; not to be changed."""
    made = Made(tmp_path_factory.mktemp("voices"))
    network = oobleck(downsampling_ratios=[2, 4, 8, 8], channel_multiples=[1, 2, 4, 4], sampling_rate=16000)
    network.save_pretrained(made.weights / "vae")
    t5(384).save_pretrained(made.weights / "byt5" / "text_encoder")
    made.prepared()
    run_phase(made.recipe(), made.place, siblings={}, registry=Path, bar=False)
    return made


@pytest.fixture
def made(whole: Made, tmp_path: Path) -> Made:
    """A copy to change, with weights of its own."""
    shutil.copytree(whole.root, tmp_path / "copy")
    places = tmp_path / "copy" / "runs" / "voice" / "0001" / "release" / "places.json"
    places.write_text(places.read_text().replace(str(whole.root), str(tmp_path / "copy")))
    return Made(tmp_path / "copy")


def other_network(folder: Path) -> None:
    network = oobleck(downsampling_ratios=[2, 4, 8, 8], channel_multiples=[1, 2, 4, 4], sampling_rate=16000)
    network.encoder.conv1.bias.add_(1)
    network.save_pretrained(folder)


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_prepared_latents_are_normalised(whole: Made) -> None:
    shards = ShardSet.open(whole.data / "sets" / "train")
    clips = [shards.read(index).streams["audio"] for index in range(len(shards))]
    latents = torch.cat([clip.values[:, : clip.valid] for clip in clips], dim=1)
    torch.testing.assert_close(latents.mean(1), torch.zeros(4), atol=0.02, rtol=0)
    torch.testing.assert_close(latents.std(1), torch.ones(4), atol=0.02, rtol=0)
    assert shards.header.codecs["audio"] == fitted_identity(whole.recipe().codecs["audio"], whole.data / "codecs/audio")
    assert "weights" not in json.dumps(dict(shards.header.codec_configs))


def test_prepared_codecs_are_kept_until_the_network_is_another(made: Made) -> None:
    """Where it lies does not matter."""
    before = written(made.data / "codecs")
    assert made.prepared().sets["train"].reused
    (made.root / "moved").mkdir()
    (made.weights / "vae").rename(made.root / "moved" / "vae")
    shutil.copytree(made.weights / "byt5", made.root / "moved" / "byt5")
    again = made.prepared(weights="moved")
    assert written(made.data / "codecs") == before
    other_network(made.root / "moved" / "vae")
    changed = made.prepared(weights="moved")
    assert written(made.data / "codecs") != before
    assert changed.codecs["audio"] != again.codecs["audio"]
    assert changed.codecs["text"] == again.codecs["text"]


def test_codecs_are_taken_with_their_statistics(made: Made) -> None:
    codec = made.prepared().codecs["audio"]
    assert made.prepared("other", taken="data").codecs["audio"] == codec
    shutil.copytree(made.data / "codecs" / "audio", made.root / "foreign" / "codecs" / "audio")
    other_network(made.weights / "vae")
    with pytest.raises(DataError, match=r"prepare: `codecs_from`: `codecs\.audio\.weights`: .*holds network"):
        made.prepared("third", taken="foreign")
    assert not (made.root / "third" / "codecs").exists()


def test_a_release_has_the_statistics_and_says_where_the_network_is(whole: Made) -> None:
    release = whole.run / "release"
    info = read_release(release)
    held = {name for name in info["files"] if name.startswith("codecs/")}
    assert held == {"codecs/audio/config.json", "codecs/audio/model.safetensors"}
    assert {part: one.get("weights") for part, one in info["recipe"]["codecs"].items()} == {"audio": None, "text": None}
    assert str(whole.root) not in (release / "release.json").read_text()
    assert set(json.loads((release / "places.json").read_text())["weights"]) == {"audio", "text"}
    assert info["codecs"] == ShardSet.open(whole.data / "sets" / "train").header.codecs


def test_a_release_makes_sound_without_the_data(made: Made, tmp_path: Path) -> None:
    shutil.rmtree(made.data)
    source = open_source(str(made.run), Path, systems=SIX)
    assert source.codecs.identities == read_release(made.run / "release")["codecs"]
    request = Request(prompts={"text": "\u0928\u092e\u0938\u094d\u0924\u0947"}, id="one")
    out = tmp_path / "clip.mp4"
    make_clip(source, request, source.recipe.sampling, seed=0, out=out, ranks=Ranks(ALONE), say=lambda _: None)
    assert out.stat().st_size > 1000


def test_a_checkpoint_has_both_parts(whole: Made) -> None:
    checkpoint = sorted((whole.run / "checkpoints").glob("step-*"))[-1]
    source = open_source(str(checkpoint), Path, systems=SIX)
    assert source.codecs.identities == read_release(whole.run / "release")["codecs"]


def test_a_network_that_is_gone_or_another_is_refused(made: Made) -> None:
    other_network(made.weights / "vae")
    with pytest.raises(DataError, match=r"`codecs\.audio\.weights`: .*vae holds network .* were fitted for network"):
        open_source(str(made.run), Path, systems=SIX)
    shutil.rmtree(made.weights / "vae")
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.weights`: .*vae is not a folder"):
        open_source(str(made.run), Path, systems=SIX)
    (made.run / "release" / "places.json").unlink()
    with pytest.raises(RecipeError, match=r"`codecs\.audio\.weights` is not set"):
        open_source(str(made.run), Path, systems=SIX)


def test_a_release_is_made_and_checked_without_the_network(made: Made) -> None:
    """Its hash stands for it. Damage of the statistics is found."""
    shutil.rmtree(made.weights)
    recipe = made.recipe()
    info = read_release(made.run / "release")
    check_release(made.run, recipe, info)
    assert carried(recipe.codecs, made.data) == {"audio": info["codecs"]["audio"]}
    assert lacking(replace(recipe, codecs={n: replace(c, weights=None) for n, c in recipe.codecs.items()})) == [
        "audio",
        "text",
    ]
    (made.run / "release" / "codecs" / "audio" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"codec .*audio: model\.safetensors is damaged"):
        check_release(made.run, recipe, info)


def test_no_layout_holds_a_codec_with_a_fitted_part(whole: Made) -> None:
    """A released folder has no place for the statistics, without which the network's latents mean something else."""
    recipe = whole.recipe()
    recipe = replace(recipe, codecs={"audio": recipe.codecs["audio"]})
    files, left = codec_files(recipe, MOVA_FOLDER, {})
    assert (files, left) == ({}, {"audio": "its kind is oobleck, whose fitted part no layout holds"})


def test_it_is_promoted_and_opened_from_the_registry(whole: Made) -> None:
    registry = partial(resolve, uri=whole.place.store, download_to=whole.root / "down")
    given: dict[str, Any] = {"registry": registry, "tracked": lambda *_: whole.place, "systems": SIX}
    spec = promote_run(whole.run, expect=None, ranks=Ranks(ALONE), say=lambda _: None, **given)
    source = open_source(spec, registry, systems=SIX)
    assert source.codecs.identities == read_release(whole.run / "release")["codecs"]
