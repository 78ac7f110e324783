"""Mochi's weights, and those of a model that has heard nothing, as parents of Mirage's phases."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from talkies.checkpoints.release import write_release
from talkies.config import CheckpointError, RecipeError
from talkies.config.source import load
from talkies.models.build import build, draw_weights
from talkies.models.mochi.keys import from_mochi
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parent_of
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.building import build_model
from talkies.runs.parents import open_parents, shape_json

sys.path.append(str(Path(__file__).parents[1] / "mochi"))
from random_mochi import mochi

TOY = Path(__file__).parents[3] / "recipes" / "mirage" / "toy"
SILENT = ("video", "text")


def phase(name: str, *words: str) -> PhaseRecipe:
    return decode_phase(load(TOY / f"{name}.yaml", words), SYSTEMS)


def released(folder: Path, weights: Mapping[str, Tensor], recipe: PhaseRecipe, **changed: Any) -> Path:
    """A release of these weights by name, as one from elsewhere."""
    grid = {"channels": 12, "shape": [7, 4, 4], "rate": "25/4"}
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        component, _, key = name.partition(".")
        found.setdefault(component, {})[key] = value
    info = {
        "name": "mochi-1",
        "phase": "pretrained",
        "step": 0,
        "weights": "raw",
        "recipe": {"codecs": {"text": {"kind": "bytes"}}},
        "recipe_hash": "12" * 32,
        "commit": "abc",
        "shape": shape_json(recipe),
        "data": {
            "shards": "films",
            "clips": 1,
            "fingerprint": "56" * 32,
            "heldout_fingerprint": "78" * 32,
            "geometry": "32x32x25@12.5",
            "fps": 12.5,
            "grids": {"video": grid},
        },
        "codecs": {"video": "91" * 32, "text": "90" * 32},
        "survival": {"skipped_steps": [], "passed_batches": []},
        "quarantined": {"clips": 0, "sha256": None},
        "parents": {},
        "metrics": {},
    }
    write_release(folder, components=found, info={**info, **changed})
    return folder


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shape = phase("video_pretraining").model.shape
    return from_mochi(mochi(shape).state_dict(), shape)


@pytest.mark.parametrize(("name", "slot"), [("video_pretraining", "video"), ("warm_up", "video"), ("warm_up", "base")])
def test_mochis_weights_begin_a_phase_and_the_sound_is_drawn(
    tmp_path: Path, weights: dict[str, Tensor], name: str, slot: str
) -> None:
    other = [] if slot == "base" else ["parents.base=null"]
    recipe = phase(name, *other, f"parents.{slot}={tmp_path / 'mochi'}")
    released(tmp_path / "mochi", weights, recipe)
    parents = open_parents(recipe, {}, Path)
    assert parents.keys() == set(SILENT)
    model = build_model(recipe, parents)
    built = model.state_dict()
    assert all(torch.equal(built[key], value) for key, value in weights.items())
    assert {key for key, value in model.named_parameters() if value.requires_grad} == (
        built.keys() if name == "video_pretraining" else built.keys() - weights.keys()
    )
    if name == "warm_up":
        skeleton = build(recipe.system, recipe, (*SILENT, "sound"), seed=None)
        drawn = dict(draw_weights(skeleton, recipe.seed, frozenset({"sound"})))
        assert drawn.keys() == built.keys() - weights.keys()
        assert all(torch.equal(built[key], value) for key, value in drawn.items())


def test_a_parent_without_what_is_frozen_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    recipe = phase("warm_up", f"parents.base={tmp_path / 'films'}")
    silent = {key: value for key, value in weights.items() if key.startswith("video.")}
    released(tmp_path / "films", silent, recipe)
    with pytest.raises(CheckpointError, match=r"^parent: .* has no text, only video: choose another parent$"):
        open_parents(recipe, {}, Path)


def test_a_parent_of_another_system_is_refused_by_what_differs(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    recipe = phase("warm_up", f"parents.base={tmp_path / 'other'}")
    released(tmp_path / "other", weights, recipe, shape={"video": {"dim": 96}, "audio": {}, "bridge": {}})
    with pytest.raises(CheckpointError, match=r"^parent: .* is of another architecture: it has no sound$"):
        open_parents(recipe, {}, Path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model.sound_width": 96}, r"sound\.width is 48, this recipe's `model\.\w+`.* has 96"),
        (
            {"model.text_positions": "learned"},
            r"text\.text_positions is '\w+', .* `model\.text_positions` has 'learned'",
        ),
    ],
)
def test_a_parent_of_another_size_is_refused_by_it(
    tmp_path: Path, weights: dict[str, Tensor], changed: dict[str, Any], message: str
) -> None:
    ((key, value),) = changed.items()
    recipe = phase("warm_up", f"parents.base={tmp_path / 'mochi'}", f"{key}={value}")
    released(tmp_path / "mochi", {**weights, "sound.bias": torch.zeros(1)}, phase("warm_up"))
    with pytest.raises(CheckpointError, match="is of another architecture: " + message):
        open_parents(recipe, {}, Path)


def test_what_a_parent_lacks_has_no_size(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """Its recipe's sound, which it does not hold, may be of another width."""
    recipe = phase("warm_up", f"parents.base={tmp_path / 'mochi'}", "model.sound_width=96")
    released(tmp_path / "mochi", weights, phase("warm_up"))
    assert open_parents(recipe, {}, Path).keys() == set(SILENT)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("warm_up", ["parents.base=null"], "warm_up phases do not train the component text: set `parents.base`"),
        ("warm_up", ["parents={audio: x}"], "unknown key `parents.audio`; known: base, video"),
        ("stitch", ["parents.video=x"], "`parents.base` brings every component; drop `parents.video`"),
    ],
)
def test_slots_that_do_not_work_are_refused(name: str, words: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parent_of(phase(name, *words))
    assert message in str(caught.value)
