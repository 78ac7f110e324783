"""Run by the version of next_version.py in a folder of older files: it finds and opens all of them."""

from pathlib import Path

import talkies
from talkies.checkpoints.release import read_release
from talkies.codecs.fitted import FITTED
from talkies.codecs.load import load_codec
from talkies.config.decode import decode
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.sources import MARKER, render
from talkies.recipe.config import decode_phase
from talkies.recipe.curriculum import load_curriculum
from talkies.runs.lookup import curriculum_of, data_of, run_of
from talkies.runs.preflight import check_root
from talkies.runs.recorded import recipe_of_release, recipe_of_run, values_of
from talkies.tracking.card_text import migrated

HERE = Path.cwd()


def runs() -> None:
    """Each is found by its own recipe in the present form, and a curriculum by its members."""
    folders = sorted(path.parent for path in HERE.glob("*/*-*/0001/recipe.json"))
    assert {run.parents[1].name for run in folders} >= {"runs", "alone", "lora", "alone-now", "lora-now"}
    for run in folders:
        recipe = recipe_of_run(run, SYSTEMS)
        assert "toughness" in values_of(recipe), run
        assert run_of(run.parents[1], recipe, new=False) == run
    curriculum = load_curriculum(Path("recipes/curriculum.yaml"), systems=SYSTEMS)
    for name in ("curricula1", "curricula2"):
        home = HERE / name / "mova-toy-0a1b2c3d"
        assert curriculum_of(HERE / name, curriculum, new=False) == home / "0001"


def data() -> None:
    """With their codecs, which encode as before, and their sets, which suit the recipes."""
    config = decode(PrepareConfig, load("recipes/prepare.yaml"))
    folders = sorted(path for path in HERE.glob("*/data/*") if path.is_dir())
    assert [root.parents[1].name for root in folders] == ["named", "recorded", "runs"]
    for root in folders:
        assert data_of(root.parents[1], config, recipe_folder=HERE) == root
        known = FITTED.read(root / "codecs" / "video" / "config.json")
        assert "motion" in known.codec
        assert load_codec("video", config.codecs["video"], root / "codecs").identity == known.identity
        media = root / "sources" / "faces"
        before = (media / MARKER).stat().st_ino
        render(config.sources["faces"], media, config.seed)
        assert (media / MARKER).stat().st_ino == before, "not rendered again"
        check_root(decode_phase(load("recipes/low.yaml"), SYSTEMS), root)


def releases() -> None:
    for path in sorted(HERE.glob("runs/*/0001/release/release.json")):
        info = read_release(path.parent)
        assert recipe_of_release(path.parent, info, SYSTEMS).codecs["video"].moving == 2
        assert migrated(info["recipe"])["codecs"]["video"]["moving"] == 2


assert "tomorrow" in talkies.__file__, "the copy"
for part in (runs, data, releases):
    part()
