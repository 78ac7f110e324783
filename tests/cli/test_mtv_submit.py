"""`talkies submit --dry-run` of MTV: its own jobs, and nothing is written."""

from pathlib import Path

import pytest
from test_submit import LIMITS, command, refused, scripts, site
from test_submit import RECIPES as MOVA

RECIPES = MOVA.parent / "mtv"
MOOD = str(RECIPES / "visual_mood.yaml")
TOY = str(RECIPES / "toy" / "curriculum.yaml")
STAGES = ("basic_face", "single_character", "multiple_characters", "sound_event", "visual_mood")
CURRICULA = {
    TOY: ("mtv-toy", ("video_pretraining", *STAGES), 7),
    str(RECIPES / "curriculum.yaml"): ("mtv", STAGES, 7),
}
"""Curriculum -> its name, its phases, and how many sets it prepares."""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "nodes", "processes"), [("visual_mood", 3, 8), ("lora", 1, 8)])
def test_a_full_scale_phase_is_one_job(
    capsys: pytest.CaptureFixture[str], name: str, nodes: int, processes: int
) -> None:
    recipe = str(RECIPES / f"{name}.yaml")
    found = scripts(capsys, recipe, *parents(name), *site(data_root="/data/mtv", runs="/scratch/runs"))
    assert [*found] == [name]
    lines = {*found[name].splitlines()}
    assert {f"#SBATCH --nodes={nodes}", f"#SBATCH --ntasks-per-node={processes}"} <= lines
    words = command(found[name])
    assert words[:2] == ["train", recipe]
    assert "data.root=/data/mtv" in words


def parents(name: str) -> list[str]:
    """A phase of a curriculum alone has another parent than its sibling."""
    return [] if name == "lora" else ["parents.base=models:/mtv-sound-event@champion"]


@pytest.mark.parametrize("curriculum", CURRICULA, ids=["toy", "full"])
def test_a_curriculum_is_a_preparation_and_a_job_per_phase(capsys: pytest.CaptureFixture[str], curriculum: str) -> None:
    name, phases, sets = CURRICULA[curriculum]
    found = scripts(capsys, curriculum, f"{phases[1]}.slurm.time=02:00:00", *site())
    jobs = [job.removeprefix(f"{name}.") for job in found]
    assert jobs == [*(job for job in jobs if job.startswith("prepare")), *phases]
    assert f"#SBATCH --array=0-{sets - 1}%8" in found[f"{name}.prepare-sets"]
    assert "#SBATCH --time=02:00:00" in found[f"{name}.{phases[1]}"]
    for phase in phases:
        words = command(found[f"{name}.{phase}"])
        assert words[words.index("--phase") + 1] == phase


@pytest.mark.parametrize(
    ("words", "changed", "message"),
    [
        ([MOOD, *parents(""), "parallel.sequence=7"], {}, "`parallel.sequence` 7 does not divide"),
        ([MOOD, *parents("")], {"limits": {**LIMITS, "nodes": 2}}, "visual_mood' needs 3 nodes, the site gives 2"),
        ([MOOD, *parents(""), "phase.track=[speech]"], {}, "`phase.tracks`"),
        ([TOY, "basic_face.parents.base=null"], {}, "do not train the component video"),
        (
            [TOY, "visual_mood.phase.tracks=[speech,speech2]", "visual_mood.tracking.gates=[]"],
            {},
            "keeps no speech2, only ",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_queued(
    capsys: pytest.CaptureFixture[str], words: list[str], changed: dict[str, object], message: str
) -> None:
    assert message in refused(capsys, *words, *site(data_root="/data", **changed))
