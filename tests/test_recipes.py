"""Every recipe is a test: short, explained, decoded, built on the meta device, planned as built."""

import re
from functools import cache
from pathlib import Path

import pytest

from talkies.cli.plan import plan_phase
from talkies.config import RecipeError
from talkies.config.parse import parse
from talkies.config.source import load
from talkies.flow.config import ShiftedSchedule
from talkies.models.build import build
from talkies.models.systems import SYSTEMS
from talkies.planning.plan import Plan
from talkies.planning.sets import plan_sets
from talkies.prepare.config import PrepareConfig
from talkies.recipe.components import parts
from talkies.recipe.config import CurriculumRecipe, PhaseRecipe, decode_recipe
from talkies.recipe.curriculum import load_curriculum
from talkies.recipe.full_scale import full_scale
from talkies.recipe.media import makes
from talkies.tracking.cards import Shelf
from talkies.training.lora import add_lora

ROOT = Path(__file__).parent.parent / "recipes"
FILES = sorted(path for path in ROOT.rglob("*.yaml") if path.parent.name != "sites")
EXTENDED = {
    (path.parent / parent).resolve()
    for path in FILES
    for parent in [parse(path.read_text(), str(path))[0].get("extends")]
    if parent
}
TOKENS = {
    "352x640x193@24": {"video": 43_120, "audio": 403},
    "720x1280x193@24": {"video": 176_400, "audio": 403},
    "1280x720x100@25": {"video": 72_000, "reference": 7_200, "sound": 100, "text": 256},
    "1280x720x200@25": {"video": 144_000, "reference": 7_200, "sound": 200, "text": 256},
}
FULL_SCALE = {
    "audio_pretraining": (400_000, 256, None, 1.0),
    "joint_phase1": (215_000, 128, 5.0, 1.0),
    "joint_phase2": (131_000, 128, 5.0, 5.0),
    "finetune_720p": (77_000, 64, 5.0, 5.0),
    "lora": (5_000, 8, 5.0, 5.0),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def decoded(path: Path) -> PhaseRecipe | CurriculumRecipe | PrepareConfig | None:
    """The recipe at `path`; None for a fragment: a file that others extend, and that lacks what they bring."""
    try:
        recipe = decode_recipe(load(path), SYSTEMS)
    except RecipeError as error:
        if path.resolve() in EXTENDED and re.search("missing key|has no `kind`", str(error)):
            return None
        raise
    return recipe


RECIPES = {path: decoded(path) for path in FILES}
PHASES = [path for path, recipe in RECIPES.items() if isinstance(recipe, PhaseRecipe)]


def test_there_are_recipes_of_every_kind() -> None:
    for kind in (PhaseRecipe, CurriculumRecipe, PrepareConfig):
        assert any(isinstance(recipe, kind) for recipe in RECIPES.values())
    assert {recipe.train.kind for recipe in RECIPES.values() if isinstance(recipe, PhaseRecipe)} == {"all", "lora"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_recipes_are_short_and_begin_with_their_purpose(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith("# ")
    assert len(lines[0]) > 40, "the first comment says goal, hardware and cost"


@cache
def planned(path: Path) -> Plan:
    """The plan of the phase at `path`."""
    recipe = RECIPES[path]
    assert isinstance(recipe, PhaseRecipe)
    return plan_phase(recipe)


def check_plan(recipe: PhaseRecipe, found: Plan) -> None:
    """The plan's parameters are the built model's, and all train that are not frozen."""
    model = build(recipe.system, recipe, parts(recipe).components, seed=None)
    assert sum(part.built for part in found.parts) == sum(p.numel() for p in model.parameters())
    if recipe.train.kind == "lora":
        add_lora(model, recipe.train)  # refuses targets that name no layer
    else:
        frozen = parts(recipe).frozen
        assert all(part.trained == (0 if part.name in frozen else part.built) for part in found.parts)


@pytest.mark.parametrize("path", PHASES, ids=name_of)
def test_phases_build_and_plan(path: Path) -> None:
    recipe = RECIPES[path]
    assert isinstance(recipe, PhaseRecipe)
    found = planned(path)
    check_plan(recipe, found)
    read = {*parts(recipe).targets, *parts(recipe).texts}
    assert read <= set(found.latents) <= read | set(parts(recipe).streams)
    if recipe.data.geometry in TOKENS:
        known = TOKENS[recipe.data.geometry]
        assert all(latent.tokens == known[name] for name, latent in found.latents.items() if name in known)


@pytest.mark.parametrize("name", FULL_SCALE)
def test_full_scale_recipes_hold_the_reports_values(name: str) -> None:
    recipe = RECIPES[ROOT / "mova" / f"{name}.yaml"]
    assert isinstance(recipe, PhaseRecipe)
    steps, batch, video, audio = FULL_SCALE[name]
    assert (recipe.steps.max, recipe.steps.global_batch) == (steps, batch)
    assert isinstance(recipe.flow.schedule, ShiftedSchedule)
    assert recipe.flow.schedule.shift("audio") == audio
    assert recipe.model.preset == "a14b"
    assert recipe.precision == "bf16"
    if video is not None:
        assert recipe.flow.schedule.shift("video") == video
        assert not recipe.flow.shared
    if recipe.phase.kind == "joint" and recipe.train.kind == "all":
        assert recipe.optimizer.lr == {"towers": 1e-5, "bridge": 2e-5}
        assert recipe.optimizer.weight_decay == 0.001
        assert recipe.phase.audio_loss_weight == 0.2
        assert recipe.phase.text_dropout == (0.5 if name == "joint_phase1" else 0.2)


def test_cards_list_every_full_scale_phase_as_never_trained() -> None:
    expected = {f"recipes/{name_of(path)}" for path in PHASES if path.parent.parent == ROOT}
    assert {path for path, _ in full_scale()} == expected
    assert (ROOT.parent / "MODEL_CARDS.md").read_text() == Shelf(folder=ROOT.parent, full_scale=full_scale()).text()


def test_the_hours_of_media_are_the_reports() -> None:
    for name, hours in (("joint_phase1", 61_500), ("joint_phase2", 37_600), ("finetune_720p", 11_000)):
        assert planned(ROOT / "mova" / f"{name}.yaml").duration.hours == pytest.approx(hours, rel=0.005)


@pytest.mark.parametrize("path", [p for p, r in RECIPES.items() if isinstance(r, PrepareConfig)], ids=name_of)
def test_preparations_plan_their_sets(path: Path) -> None:
    recipe = RECIPES[path]
    assert isinstance(recipe, PrepareConfig)
    grids = plan_sets(recipe, SYSTEMS)
    assert grids.keys() == recipe.sets.keys()
    assert {wanted.source for wanted in recipe.sets.values()} <= recipe.sources.keys()
    assert set(recipe.fit_sets) <= recipe.sets.keys()


@pytest.mark.parametrize("path", [p for p, r in RECIPES.items() if isinstance(r, CurriculumRecipe)], ids=name_of)
def test_curricula_hold_together(path: Path) -> None:
    curriculum = load_curriculum(path, systems=SYSTEMS)
    for phase in curriculum.phases:
        check_plan(phase, plan_phase(phase))
        for name in (phase.data.shards, phase.data.heldout):
            made = curriculum.prepare.sets[name]
            assert made.geometry == phase.data.geometry
            assert set(made.modalities) >= set(makes(phase))
        assert phase.codecs == curriculum.prepare.codecs


def test_the_full_scale_phases_find_their_sets() -> None:
    prepare = RECIPES[ROOT / "mova" / "prepare.yaml"]
    assert isinstance(prepare, PrepareConfig)
    for name in FULL_SCALE:
        phase = RECIPES[ROOT / "mova" / f"{name}.yaml"]
        assert isinstance(phase, PhaseRecipe)
        assert phase.codecs == prepare.codecs
        for key in (phase.data.shards, phase.data.heldout):
            assert prepare.sets[key].geometry == phase.data.geometry
