"""`talkies submit` without a cluster: plans, refusals, and the scripts that --dry-run prints."""

import json
import shlex
from pathlib import Path

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"
PHASE1 = str(RECIPES / "joint_phase1.yaml")
TOY = str(RECIPES / "toy" / "curriculum.yaml")
AUDIO = str(RECIPES / "toy" / "audio_pretraining.yaml")
LIMITS = {"nodes": 128, "gpus_per_node": 8, "time": "1-00:00:00"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def site(**changed: object) -> list[str]:
    Path("site.yaml").write_text(json.dumps({"kind": "site", "limits": LIMITS, **changed}))
    return ["--site", "site.yaml"]


def scripts(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """Job name -> script of a dry run, which writes nothing."""
    before = sorted(Path().rglob("*"))
    assert run(["submit", *words, "--dry-run"]) == 0
    assert sorted(Path().rglob("*")) == before
    found = {}
    for text in capsys.readouterr().out.split("### ")[1:]:
        head, _, script = text.partition("\n")
        found[Path(head.partition(",")[0]).stem] = script
    return found


def command(script: str) -> list[str]:
    """The command that the processes run."""
    words = shlex.split(script.rstrip().splitlines()[-1])
    return words[words.index("talkies.cli.main") + 1 :]


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    assert run(["submit", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("runs").exists()
    return line


def test_a_full_scale_phase_is_one_job_of_128_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    own = site(card=80, tracking_uri="https://mlflow.example.org", data_root="/data/mova", runs="/scratch/runs")
    found = scripts(capsys, PHASE1, *own)
    assert [*found] == ["joint_phase1"]
    lines = found["joint_phase1"].splitlines()
    assert {"#SBATCH --nodes=128", "#SBATCH --ntasks-per-node=8", "#SBATCH --time=1-00:00:00"} <= {*lines}
    words = command(found["joint_phase1"])
    assert words[:2] == ["train", PHASE1]
    assert {"data.root=/data/mova", "tracking.uri=https://mlflow.example.org"} <= {*words}
    assert Path(words[words.index("--folder") + 1]).parent.parent == Path("/scratch/runs")


def test_a_curriculum_is_a_preparation_and_a_job_per_phase(capsys: pytest.CaptureFixture[str]) -> None:
    found = scripts(capsys, TOY, "joint_phase2.slurm.time=02:00:00", "phases.slurm.requeue=false", *site())
    assert [*found] == [
        *(f"mova-toy.prepare{part}" for part in ("-codecs", "-sets", "")),
        *(f"mova-toy.{m}_pretraining" for m in ("video", "audio")),
        *(f"mova-toy.{name}" for name in ("joint_phase1", "joint_phase2", "high_resolution", "lora")),
    ]
    assert "#SBATCH --array=0-9%8" in found["mova-toy.prepare-sets"]
    assert "#SBATCH --time=02:00:00" in found["mova-toy.joint_phase2"]
    assert "#SBATCH --no-requeue" in found["mova-toy.lora"]
    for phase in ("video_pretraining", "lora"):
        words = command(found[f"mova-toy.{phase}"])
        assert words[words.index("--phase") + 1] == phase
        assert "joint_phase2.slurm.time=02:00:00" in words, "the jobs read the recipe as it was planned"
    whole = scripts(capsys, TOY, *site(prepare={"array": 0}), "--prepare")
    assert [*whole] == ["mova-toy.prepare"]


def test_a_single_preparation(capsys: pytest.CaptureFixture[str]) -> None:
    found = scripts(capsys, str(RECIPES / "toy" / "prepare.yaml"), *site(prepare={"array": 0}))
    assert command(found["mova-toy.prepare"])[0] == "prepare"


@pytest.mark.parametrize(
    ("words", "changed", "message"),
    [
        ([PHASE1], {"limits": {**LIMITS, "nodes": 64}}, r"joint_phase1' needs 128 nodes, the site gives 64"),
        ([PHASE1, "parallel.shard=8", "parallel.replicate=128"], {"card": 24}, "24 GB"),
        ([PHASE1, "parallel.sequence=3"], {}, "`parallel.sequence` 3 does not divide"),
        ([PHASE1, "slurm.nodes=4"], {}, "needs 256 gpus per node, the site gives 8"),
        ([PHASE1, "slurm.time=2-00:00:00"], {}, "asks for 2-00:00:00 (`slurm.time`)"),
        ([PHASE1], {"lead": 2}, "needs about"),
        ([PHASE1, "slurm.nods=4"], {}, "Did you mean `slurm.nodes`?"),
        ([PHASE1, "name=x; touch y"], {}, "`name` must"),
        ([PHASE1, "name=x\n#SBATCH --uid=0"], {}, "contains a line break"),
        ([PHASE1, 'name="x\\n#SBATCH --uid=0"'], {}, "`name`"),
        ([AUDIO], {}, "`data_root` in the site profile"),
        ([AUDIO, "data.root=x", "tracking.uri=https://me:sesame@host"], {}, "`tracking.uri`"),
        ([AUDIO, "data.root=x", "--prepare"], {}, "--prepare takes a curriculum"),
        ([AUDIO, "data.root=x", "--runs", "my runs"], {}, "which sbatch would not read as one path"),
        ([TOY, "lora.slurm.nodes=2"], {}, "'lora' has 1 ranks"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_queued(
    capsys: pytest.CaptureFixture[str], words: list[str], changed: dict[str, object], message: str
) -> None:
    root = {"data_root": "/data"} if words[0] == PHASE1 else {}
    line = refused(capsys, *words, *site(**root, **changed))
    assert message in line
    assert "sesame" not in line


def test_without_slurm_nothing_is_queued_and_the_reason_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["submit", AUDIO, "data.root=/data", *site()]) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no sbatch on PATH" in line
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "audio_pretraining  not submitted" in out
    (folder,) = Path("runs").glob("audio_pretraining-*/0001")
    assert run(["cancel", str(folder)]) == 0
    assert "every job has ended" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["status", "cancel"])
@pytest.mark.parametrize(
    ("what", "message"), [("17", "job 17 belongs to no run"), ("nowhere", "is neither a run folder")]
)
def test_a_run_that_was_not_submitted_is_named(
    capsys: pytest.CaptureFixture[str], verb: str, what: str, message: str
) -> None:
    assert run([verb, what]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["train", TOY, "--phase", "lara"],
            2,
            "--phase 'lara' is not a phase of the curriculum; its phases: ",
        ),
        (["train", AUDIO, "--phase", "lora"], 2, "--phase takes a curriculum"),
        (["train", TOY, "--folder", "runs/mova-toy-00000000/0001"], 65, "the recipe has changed since"),
        (["train", AUDIO, "data.root=x", "--folder", "x", "--new"], 2, "give one of the two"),
        (["prepare", TOY, "--part", "x"], 2, "--part 'x'"),
        (["prepare", TOY, "--part", "10"], 2, "no set 10: the recipe has 10, 0 to 9"),
    ],
)
def test_what_a_job_cannot_do_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert run(words) == code
    assert message in capsys.readouterr().err


def test_a_phase_needs_those_before_it_and_says_so_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", TOY, "--phase", "lora", "--quiet"]) == 65
    assert "phase 'lora' comes after 'video_pretraining', which is not finished" in capsys.readouterr().err
    assert not Path("runs/data").exists()
