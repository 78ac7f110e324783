"""talkies plan: text and JSON, for a phase, a curriculum and a preparation; fast, and without Lightning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from talkies.cli.main import run

RECIPES = Path(__file__).parents[2] / "recipes" / "mova"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["plan", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_full_scale_without_lightning_in_under_ten_seconds() -> None:
    code = (
        "import resource, sys; from talkies.cli.main import run\n"
        f"assert run(['plan', {str(RECIPES / 'joint_phase1.yaml')!r}]) == 0\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('SECONDS', used.ru_utime + used.ru_stime, *{m.split('.')[0] for m in sys.modules})"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    text, _, rest = done.stdout.partition("SECONDS")
    seconds, *modules = rest.split()
    assert float(seconds) < 10
    assert not {"lightning", "mlflow", "transformers", "diffusers", "peft"} & set(modules)
    for number in ("14,288,901,184", "1,419,193,472", "2,659,737,600", "32,656,733,440", "43,120", "403", "215,000"):
        assert number in text


def test_720p_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    values = plan_json(capsys, str(RECIPES / "finetune_720p.yaml"), "steps.max=1000")
    assert values["latents"] == {
        "video": {"shape": [16, 49, 90, 160], "tokens": 176400},
        "audio": {"shape": [128, 403], "tokens": 403},
        "text": {"shape": [4096, 512], "tokens": 512},
    }
    assert values["duration"] == {
        "steps": 1000, "clips": 64000, "hours": pytest.approx(142.963, abs=1e-3), "checkpoints": 1, "validations": 1,
    }  # fmt: skip
    assert values["parameters"] == {"built": 32656733440, "trained": 32656733440}


def test_a_curriculum_plans_every_phase(capsys: pytest.CaptureFixture[str]) -> None:
    toy = RECIPES / "toy" / "curriculum.yaml"
    values = plan_json(capsys, str(toy), "phases.steps.max=7", "lora.train.rank=2")
    phases = values["phases"]
    assert isinstance(phases, list)
    assert [phase["kind"] for phase in phases][:2] == ["video_pretraining", "audio_pretraining"]
    assert {phase["duration"]["steps"] for phase in phases} == {7}
    assert isinstance(values["sets"], dict)
    assert run(["plan", str(toy)]) == 0
    assert all(f"{phase['name']}: {phase['kind']}" in capsys.readouterr().out for phase in phases[:1])


def test_overrides_may_fill_what_a_recipe_leaves_open(capsys: pytest.CaptureFixture[str]) -> None:
    text = "extends: {}\nname: x\nphase: {{kind: audio_pretraining}}\nsteps: {{max: ???}}\n"
    Path("open.yaml").write_text(text.format("toy.yaml"))
    Path("toy.yaml").write_text((RECIPES / "toy" / "defaults.yaml").read_text())
    filled = ["data.shards=a", "data.heldout=b", "steps.max=3"]
    assert run(["plan", "open.yaml", *filled[:2]]) == 2
    assert "missing key `steps.max`" in capsys.readouterr().err
    duration = plan_json(capsys, "open.yaml", *filled)["duration"]
    assert isinstance(duration, dict)
    assert duration["steps"] == 3


def test_a_preparation_plans_its_sets(capsys: pytest.CaptureFixture[str]) -> None:
    values = plan_json(capsys, str(RECIPES / "prepare.yaml"))
    sets = values["sets"]
    assert isinstance(sets, dict)
    assert sets["best"]["video"] == {"channels": 16, "shape": [49, 90, 160], "rate": "6"}
    assert list(sets["audio"]) == ["audio"]


@pytest.mark.parametrize("geometry", ["360x640x193@24", "352x640x192@24", "352x644x193@24", "wide"])
def test_a_geometry_that_does_not_fit(capsys: pytest.CaptureFixture[str], geometry: str) -> None:
    assert run(["plan", str(RECIPES / "joint_phase1.yaml"), f"data.geometry={geometry}"]) in (2, 65)
    error = capsys.readouterr().err
    assert error.startswith("talkies: ")
    assert error.count("\n") == 1
