"""`talkies submit --dry-run` of every other system than MOVA: its own jobs, and nothing is written."""

from pathlib import Path

import pytest
from test_submit import LIMITS, command, refused, scripts, site
from test_submit import RECIPES as MOVA

RECIPES = MOVA.parent
REFERENCE = str(RECIPES / "mirage/reference.yaml")
FILMS = str(RECIPES / "mirage/toy/curriculum.yaml")
VOICES = str(RECIPES / "mirage_audio/toy/curriculum.yaml")
SCENES = str(RECIPES / "mtv/toy/curriculum.yaml")
STAGES = ("basic_face", "single_character", "multiple_characters", "sound_event", "visual_mood")
CURRICULA = {
    FILMS: ("mirage-toy", ("video_pretraining", "warm_up", "stitch", "reference"), 4),
    VOICES: ("mirage-audio-toy", ("general_sound", "speech", "cloning"), 4),
    SCENES: ("mtv-toy", ("video_pretraining", *STAGES), 7),
    str(RECIPES / "mtv/curriculum.yaml"): ("mtv", STAGES, 7),
}
"""Curriculum -> its name, its phases, and how many sets it prepares."""
BASE = "parents.base=models:/mtv-sound-event@champion"
"""A phase of a curriculum alone has another parent than its sibling."""
MOOD = [str(RECIPES / "mtv/visual_mood.yaml"), BASE]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "more", "nodes", "processes"),
    [
        ("mirage/reference", [], 64, 8), ("mirage/lora", [], 1, 8), ("mirage_audio/general_sound", [], 1, 8),
        ("mirage_audio/cloning", [], 1, 8), ("mirage_audio/lora", [], 1, 1), ("mtv/visual_mood", [BASE], 3, 8),
        ("mtv/lora", [], 1, 8),
    ],
)  # fmt: skip
def test_a_full_scale_phase_is_one_job(
    capsys: pytest.CaptureFixture[str], name: str, more: list[str], nodes: int, processes: int
) -> None:
    recipe, phase = str(RECIPES / f"{name}.yaml"), name.rpartition("/")[2]
    found = scripts(capsys, recipe, *more, *site(data_root="/data/clips", runs="/scratch/runs"))
    assert [*found] == [phase]
    lines = {*found[phase].splitlines()}
    assert {f"#SBATCH --nodes={nodes}", f"#SBATCH --ntasks-per-node={processes}"} <= lines
    words = command(found[phase])
    assert words[:2] == ["train", recipe]
    assert "data.root=/data/clips" in words


@pytest.mark.parametrize("curriculum", CURRICULA, ids=[name for name, *_ in CURRICULA.values()])
def test_a_curriculum_is_a_preparation_and_a_job_per_phase(capsys: pytest.CaptureFixture[str], curriculum: str) -> None:
    name, phases, sets = CURRICULA[curriculum]
    found = scripts(capsys, curriculum, f"{phases[1]}.slurm.time=02:00:00", *site())
    assert [*found] == [f"{name}.{job}" for job in ("prepare-codecs", "prepare-sets", "prepare", *phases)]
    assert f"#SBATCH --array=0-{sets - 1}%8" in found[f"{name}.prepare-sets"]
    assert "#SBATCH --time=02:00:00" in found[f"{name}.{phases[1]}"]
    for phase in phases:
        words = command(found[f"{name}.{phase}"])
        assert words[words.index("--phase") + 1] == phase


@pytest.mark.parametrize(
    ("words", "changed", "message"),
    [
        ([REFERENCE, "parallel.sequence=3"], {}, "`parallel.sequence` 3 does not divide"),
        ([REFERENCE], {"limits": {**LIMITS, "nodes": 32}}, "reference' needs 64 nodes, the site gives 32"),
        ([REFERENCE, "phase.sound_droput=0.1"], {}, "`phase.sound_dropout`"),
        ([FILMS, "warm_up.parents.base=null"], {}, "do not train the component text"),
        ([FILMS, "reference.data.shards=silent"], {}, "keeps no reference, only video"),
        ([VOICES, "cloning.data.shards=sounds"], {}, "keeps no reference, only "),
        ([VOICES, "cloning.tracking.voices=null"], {}, "`tracking.voices`"),
        ([*MOOD, "parallel.sequence=7"], {}, "`parallel.sequence` 7 does not divide"),
        (MOOD, {"limits": {**LIMITS, "nodes": 2}}, "visual_mood' needs 3 nodes, the site gives 2"),
        ([*MOOD, "phase.track=[speech]"], {}, "`phase.tracks`"),
        ([SCENES, "basic_face.parents.base=null"], {}, "do not train the component video"),
        (
            [SCENES, "visual_mood.phase.tracks=[speech,speech2]", "visual_mood.tracking.gates=[]"],
            {},
            "keeps no speech2, only ",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_queued(
    capsys: pytest.CaptureFixture[str], words: list[str], changed: dict[str, object], message: str
) -> None:
    assert message in refused(capsys, *words, *site(data_root="/data", **changed))
