"""Numbers that size an allocation or a loop are bounded: any number is used, or refused by key at once."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from talkies.config import RecipeError
from talkies.config.canonical import flat
from talkies.config.merge import override
from talkies.config.source import LoadedRecipe, load
from talkies.models.systems import SYSTEMS
from talkies.prepare.geometry import Geometry
from talkies.prepare.plan import plan
from talkies.recipe.check import check
from talkies.recipe.config import PhaseRecipe, decode_recipe

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
UNBOUNDED = {
    *(
        "seed",
        "sources.faces.seed",
        "sources.faces_high.seed",
        "sources.masks.seed",
        "train.alpha",
    ),  # numbers without a natural limit
    *(
        "sources.faces.heldout",
        "sources.faces_high.heldout",
        "sources.masks.heldout",
        "quarantine_max",
    ),  # compared with what exists
    *("steps.max", "steps.checkpoint_every", "steps.keep", "steps.log_every", "optimizer.warmup", "validation.every"),
    *("validation.clips", "validation.final_clips"),  # refused if the set has fewer
    *("survival.skips", "survival.rollback.times", "survival.quarantine.in_a_row", "survival.failed_saves"),
    *("slurm.nodes", "slurm.gpus_per_node"),  # refused if the site gives fewer
}


@cache
def source(name: str) -> LoadedRecipe:
    return load(TOY / f"{name}.yaml")


def integers(name: str) -> dict[str, Any]:
    found = flat(decode_recipe(source(name), SYSTEMS))
    return {key: value for key, value in found.items() if isinstance(value, int) and not isinstance(value, bool)}


KEYS = [(name, key) for name in ("prepare", "joint_phase1", "lora") for key in integers(name)]


def used(name: str, key: str, value: Any) -> None:
    values = source(name).values
    if key.startswith("parallel."):
        values = override(values, {}, "parallel.kind", "ddp")
    values = override(values, {}, key, value)
    recipe = decode_recipe(LoadedRecipe(file=Path("x.yaml"), values=values, origins={}), SYSTEMS)
    check(recipe) if isinstance(recipe, PhaseRecipe) else plan(recipe, SYSTEMS)


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_an_impossibly_large_number_is_refused_by_key(name: str, key: str) -> None:
    for value in (-1, 2**63, 10**400, *(() if key in UNBOUNDED else (10**9 + 1, 10**18))):
        with pytest.raises(RecipeError) as caught:
            used(name, key, value)
        assert key.rpartition(".")[2] in str(caught.value)
        assert len(str(caught.value)) < 300


def test_the_list_of_unbounded_numbers_is_complete() -> None:
    assert {key for _, key in KEYS} >= UNBOUNDED - {"slurm.nodes", "slurm.gpus_per_node"}


@pytest.mark.parametrize(
    "text",
    [
        *("8193x8x1@1", "8x8193x1@1", "8x8x100001@1", "8192x8192x100@1", "8x8x1@1001", "8x8x1@0.00001"),
        *(f"{'9' * 400}x8x1@1", f"8x8x1@{'9' * 5000}", f"8x8x{'9' * 5000}@1"),
    ],
)
def test_a_geometry_beyond_any_clip_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"`sets\.x\.geometry` is ") as caught:
        Geometry.parse(text, key="sets.x.geometry")
    assert len(str(caught.value)) < 300
    Geometry.parse("2160x3840x258@1000", key="x")


def test_blocks_too_large_to_fit_a_codec_on_are_refused() -> None:
    values = override(source("prepare").values, {}, "codecs.video", {"block": 32, "stride": 3})
    recipe = decode_recipe(LoadedRecipe(file=Path("x.yaml"), values=values, origins={}), SYSTEMS)
    with pytest.raises(RecipeError, match=r"`codecs\.video`.*9216 values.*at most 8192"):
        plan(recipe, SYSTEMS)


def test_a_lora_wider_than_its_towers_is_refused() -> None:
    used("lora", "train.rank", 96)
    with pytest.raises(RecipeError, match=r"`train\.rank` is 97.*at most 96 wide"):
        used("lora", "train.rank", 97)


def test_a_lora_without_targets_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"`train\.targets` must be a list of at least 1, got a list of 0"):
        used("lora", "train.targets", [])
