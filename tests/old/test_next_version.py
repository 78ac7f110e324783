"""A later version, in which keys have other names, opens what this version and commit ba90cf5 have recorded."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from next_version import next_version
from old_runs import Old, unpacked

from talkies.config.canonical import identifying, recipe_hash, to_dict
from talkies.config.decode import decode
from talkies.config.migrations import hash_of
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.recipe.curriculum import Curriculum, load_curriculum
from talkies.runs.lookup import CURRICULUM_FILE, record_data
from talkies.runs.recorded import check_sum, recipe_of_run, values_of
from talkies.runs.run_phase import adopt

ANY = "0a1b2c3d"
SETS = ["low", "low_heldout", "voices", "voices_heldout"]
LOW = """\
schema: 1
extends: joint_phase1.yaml
data: {shards: low, heldout: low_heldout}
validation: {clips: 2, samples: 1, final_clips: 2}
survival: {straggler: 3.0}
"""


def written(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def record_runs(folder: Path) -> None:
    """The runs of the archive as this version records them, in folders of older names."""
    for path in sorted(folder.glob("*/*-*/0001/recipe.json")):
        runs, name = path.parents[2].name, path.parents[1].name
        adopt(recipe_of_run(path.parent, SYSTEMS), folder / f"{runs}-now" / f"{name[:-8]}{ANY}" / "0001", {})


def record_curricula(folder: Path, curriculum: Curriculum) -> None:
    """As schema 1 recorded it, by its phases and the name of their data, and as this version does."""
    values = {"prepare": values_of(curriculum.located), "phases": [values_of(phase) for phase in curriculum.phases]}
    name = f"{curriculum.recipe.name}-{ANY}"
    old, now = (folder / version / name / "0001" for version in ("curricula1", "curricula2"))
    written(now / CURRICULUM_FILE, {"digest": "x", **values})
    written(old / CURRICULUM_FILE, {"digest": "x"})
    data = f"old-{hash_of(identifying(curriculum.located))[:8]}"
    phase = curriculum.phases[0]
    run, known = old / f"1-{phase.name}", to_dict(phase)
    written(run / "recipe.json", {"recipe": known, "recipe_hash": check_sum(known), "parents": {}})
    written(run / "place.json", {"data_root": str(folder / "runs" / "data" / data), "store": "sqlite:///x.db"})


def record_data_roots(folder: Path) -> None:
    """As schema 2 named them at first, and as this version records them, whatever their name."""
    (old,) = (folder / "runs" / "data").iterdir()
    config = decode(PrepareConfig, load(folder / "recipes" / "prepare.yaml"))
    shutil.copytree(old, folder / "named" / "data" / f"old-{recipe_hash(config)[:8]}")
    record_data(shutil.copytree(old, folder / "recorded" / "data" / f"old-{ANY}"), config, recipe_folder=folder)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """The archive, and what this version records."""
    old = unpacked(tmp_path_factory.mktemp("old") / "files", current=True)
    (old.folder / "recipes" / "low.yaml").write_text(LOW)
    record_runs(old.folder)
    record_curricula(old.folder, load_curriculum(old.folder / "recipes" / "curriculum.yaml", systems=SYSTEMS))
    record_data_roots(old.folder)
    return old


def test_everything_is_found_and_opened(old: Old, tmp_path: Path) -> None:
    sources = next_version(tmp_path / "tomorrow")
    command = [sys.executable, str(Path(__file__).with_name("opening.py"))]
    paths = {**os.environ, "PYTHONPATH": str(sources)}
    found = subprocess.run(command, cwd=old.folder, env=paths, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert not found.stderr, "nothing was skipped"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_old_data_runs_and_versions_are_used(tmp_path: Path) -> None:
    old = replace(unpacked(tmp_path / "files", current=True), sources=next_version(tmp_path / "tomorrow"))
    lines = old.run("prepare", old.recipe("prepare"), "--runs", "runs").splitlines()
    assert [line.split(":")[0] for line in lines if line.endswith("(reused)")] == SETS
    known = old.only("alone/*/0001")
    assert old.resume("alone") == known
    assert (known / "result.json").is_file()
    for source in (str(old.only("runs/joint_phase1-*/0001")), "models:/old@champion"):
        words = ["--prompt", "a cat", "--steps", "2", "--runs", "runs", "--out", str(tmp_path / "made.mp4")]
        assert old.run("sample", source, *words).startswith("sample: ")
