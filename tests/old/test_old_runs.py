"""Unfinished runs of commit ba90cf5 continue bitwise as under that commit; its releases and versions open.

The archive holds the sources of that commit, so that both versions run on the same machine.
"""

from pathlib import Path

import pytest
from old_runs import LAYOUTS, Old, unpacked

from talkies.checkpoints.release import read_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def weights(release: Path) -> dict[str, str]:
    """sha256 of every file of weights in a release."""
    files = read_release(release)["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name.endswith(".safetensors")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_continues_bitwise(tmp_path: Path, layout: str) -> None:
    original, current = (unpacked(tmp_path / name, current=name == "current") for name in ("original", "current"))
    before = [path.name for path in current.only(f"{layout}/*/0001").parent.parent.iterdir()]
    expected, found = original.resume(layout), current.resume(layout)
    assert [path.name for path in found.parent.parent.iterdir()] == before, "nothing is renamed, no run is started"
    assert weights(found / "release") == weights(expected / "release")
    assert {"bridge.safetensors", "adapter/adapter_model.safetensors"} & weights(found / "release").keys()
    recorded = [read_release(run / "release")["recipe_hash"] for run in (expected, found)]
    assert recorded[0] == recorded[1], "the run keeps its name"


def test_a_new_run_is_bitwise_equal(tmp_path: Path) -> None:
    """Random weights of every component, noise, times and dropout have not changed."""
    both = [unpacked(tmp_path / name, current=name == "current") for name in ("original", "current")]
    for one in both:
        one.train("joint_phase1", "parents.video=null", "parents.audio=null", "steps.max=2", runs="fresh")
    original, current = (weights(one.only("fresh/joint_phase1-*/0001/release")) for one in both)
    assert original == current


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    return unpacked(tmp_path_factory.mktemp("old") / "moved", current=True)


def test_data_are_found_and_used(old: Old) -> None:
    data = old.only("runs/data/*")
    printed = old.run("prepare", old.recipe("prepare"), "--runs", "runs")
    assert printed.splitlines()[-1] == f"data root: {data.relative_to(old.folder)}"
    assert [line for line in printed.splitlines() if line.endswith("(reused)")] == [
        f"{name}: {count} clips, {2 * count} s (reused)"
        for name, count in (("low", 4), ("low_heldout", 2), ("voices", 4), ("voices_heldout", 2))
    ], "runs use them"


def test_a_release_and_a_version_open(old: Old, tmp_path: Path) -> None:
    run, mp4 = old.only("runs/joint_phase1-*/0001"), str(tmp_path / "made.mp4")
    for source in (str(run), str(run / "release"), str(run / "checkpoints" / "step-00000001"), "models:/old@champion"):
        words = ["--prompt", "a cat", "--steps", "2", "--runs", "runs", "--out", mp4]
        assert old.run("sample", source, *words).startswith("sample: ")
    assert "models:/old@champion is version 1 (was 1)" in old.run("promote", str(run), "--runs", "runs")
    old.run("export", str(run), "--consolidate", "--out", str(tmp_path / "made"))
    assert weights(run / "release") == weights(tmp_path / "made")


def test_a_run_begins_from_an_old_parent(old: Old) -> None:
    """With the current schema, in a new run folder."""
    old.train("joint_phase1", *old.parents, "steps.max=1", "seed=3", runs="new")
    assert weights(old.only("new/joint_phase1-*/0001/release"))
