"""`talkies submit --dry-run` of Mirage's recipes: their own jobs, and nothing is written."""

from pathlib import Path

import pytest
from test_submit import LIMITS, command, refused, scripts, site
from test_submit import RECIPES as MOVA

RECIPES = MOVA.parent / "mirage"
REFERENCE = str(RECIPES / "reference.yaml")
TOY = str(RECIPES / "toy" / "curriculum.yaml")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "nodes"), [("video_pretraining", 64), ("reference", 64), ("lora", 1)])
def test_a_full_scale_phase_is_one_job(capsys: pytest.CaptureFixture[str], name: str, nodes: int) -> None:
    parent = [] if name == "lora" else ["parents={}"]
    recipe = str(RECIPES / f"{name}.yaml")
    found = scripts(capsys, recipe, *parent, *site(data_root="/data/mirage", runs="/scratch/runs"))
    assert [*found] == [name]
    assert {f"#SBATCH --nodes={nodes}", "#SBATCH --ntasks-per-node=8"} <= {*found[name].splitlines()}
    words = command(found[name])
    assert words[:2] == ["train", recipe]
    assert "data.root=/data/mirage" in words


def test_the_toy_curriculum_is_a_preparation_and_a_job_per_phase(capsys: pytest.CaptureFixture[str]) -> None:
    found = scripts(capsys, TOY, "warm_up.slurm.time=02:00:00", *site())
    phases = ("video_pretraining", "warm_up", "stitch", "reference")
    assert [*found] == [f"mirage-toy.{name}" for name in ("prepare-codecs", "prepare-sets", "prepare", *phases)]
    assert "#SBATCH --array=0-3%8" in found["mirage-toy.prepare-sets"]
    assert "#SBATCH --time=02:00:00" in found["mirage-toy.warm_up"]
    for phase in phases:
        words = command(found[f"mirage-toy.{phase}"])
        assert words[words.index("--phase") + 1] == phase


@pytest.mark.parametrize(
    ("words", "changed", "message"),
    [
        ([REFERENCE, "parallel.sequence=3"], {}, "`parallel.sequence` 3 does not divide"),
        ([REFERENCE], {"limits": {**LIMITS, "nodes": 32}}, r"reference' needs 64 nodes, the site gives 32"),
        ([REFERENCE, "phase.sound_droput=0.1"], {}, "`phase.sound_dropout`"),
        ([TOY, "warm_up.parents.base=null"], {}, "does not train the component text"),
        ([TOY, "reference.data.shards=silent"], {}, "keeps no reference, only video"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_queued(
    capsys: pytest.CaptureFixture[str], words: list[str], changed: dict[str, object], message: str
) -> None:
    assert message in refused(capsys, *words, *site(data_root="/data", **changed))
