"""Sizes beyond any machine are refused in one line, before memory or processes are requested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)

HUGE = str(10**18)
TRAIN = ["train", str(RECIPES / "audio_pretraining.yaml"), *(word for word in TINY if "global_batch" not in word)]
CASES = {
    "a batch of no loader": (["steps.global_batch=20000000"], r"`steps.global_batch` must be <= 1048576"),
    "a batch of few clips": (["steps.global_batch=1048576"], "clips, which a step would repeat more than 100 times"),
    "loader processes": (["steps.global_batch=4", "data.workers=200"], "`data.workers` is 200, but this machine has "),
    "threads": (["steps.global_batch=4", f"compute.threads={HUGE}"], "`compute.threads` must be <= 1024"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_phase_is_not_begun(name: str, toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = CASES[name]
    given = [word for word in TRAIN if word.partition("=")[0] not in {other.partition("=")[0] for other in words}]
    code = run([*given, *words, f"data.root={toy_run.data}", "--stop-at", "1", "--runs", str(tmp_path), "--quiet"])
    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.rglob("checkpoints"))


@pytest.mark.parametrize(
    "words", [["--steps", HUGE], ["--steps", "10001"], ["--seed", HUGE * 3], ["--text-scale", "1e400"]]
)
def test_a_sample_is_not_begun(
    words: list[str], toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.mp4"
    assert run(["sample", str(toy_run.phase("lora")), "--prompt", "x", "--out", str(out), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("clips", [HUGE, "9" * 400])
def test_an_evaluation_is_not_begun(clips: str, toy_run: ToyRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(toy_run.phase("lora")), "--clips", clips]) in (2, 65)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_recipe_of_many_keys_takes_little_time_and_memory(tmp_path: Path) -> None:
    recipe = tmp_path / "x.yaml"
    recipe.write_text(json.dumps({"kind": "phase", **{f"key{number}": number for number in range(2_000)}}))
    # VmHWM is of this program alone: what getrusage says of a child is at least what its parent had before exec.
    code = (
        "import re, sys; from pathlib import Path; from talkies.cli.main import run\n"
        f"code = run(['show', {str(recipe)!r}])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "... and 20" in done.stderr
    assert len(done.stderr) < 600
    assert int(done.stdout) < 300_000
