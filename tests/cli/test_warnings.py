"""The form of warnings on the command line."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

import talkies
from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
LONG = "happy " * 2000
ROOT = Path(next(iter(talkies.__path__)))


def child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **environment})


PROBE = f"""
import logging, sys, types, warnings
from talkies.cli.main import VERBS, run
def act(args):
    ours = {str(ROOT / "data" / "x.py")!r}
    warnings.warn_explicit("two\\n lines", UserWarning, ours, 3)
    warnings.warn_explicit("the driver is old", UserWarning, "/x/site-packages/torch/cuda.py", 3)
    warnings.warn_explicit("call it otherwise", FutureWarning, "/x/site-packages/torch/cuda.py", 4)
    logging.getLogger("talkies.tracking.spool").warning("dropped\\n a record")
    return 0
probe = types.ModuleType("probe")
probe.__dict__.update(add_arguments=lambda parser: None, run=act)
sys.modules["probe"] = probe
VERBS["probe"] = ("probe", "")
assert run(["probe"]) == 0
warnings.warn_explicit("after", UserWarning, "/x/y.py", 3)
"""


def test_a_warning_is_one_line_without_pythons_internals() -> None:
    assert child(PROBE).stderr.splitlines() == [
        "talkies: warning: two lines",
        "talkies: warning: torch: the driver is old",
        "talkies: warning: dropped a record",
        "/x/y.py:3: UserWarning: after",
    ]


def test_an_environment_variable_shows_the_origin() -> None:
    message = child(PROBE, TALKIES_TRACEBACK="1").stderr
    assert "x.py:3: UserWarning: two\n lines" in message
    assert "talkies: warning: " not in message


def test_a_prompt_that_is_cut_is_one_line(toy_run: ToyRun, tmp_path: Path) -> None:
    words = ["sample", str(toy_run.phase("audio_pretraining")), "--prompt", LONG, "--out", str(tmp_path / "x.mp4")]
    done = child(f"import sys; from talkies.cli.main import run; sys.exit(run({words!r}))", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("talkies: warning: prompt of request sample is too long")


def test_a_recorder_of_warnings_still_gets_them(toy_run: ToyRun, tmp_path: Path) -> None:
    before = warnings.formatwarning
    words = ["sample", str(toy_run.phase("audio_pretraining")), "--prompt", LONG, "--out", str(tmp_path / "x.mp4")]
    with pytest.warns(UserWarning, match="too long"):
        assert run(words) == 0
    assert warnings.formatwarning is before


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


@pytest.mark.usefixtures("many_cores")
def test_training_shows_no_advice_for_programmers(
    toy_run: ToyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every warning is an error in these tests, so any advice would fail this one."""
    monkeypatch.setattr("talkies.runs.run_phase.UPLOAD_S", 0.0)
    words = [*TINY, f"data.root={toy_run.data}", "--runs", str(tmp_path), "--quiet"]
    assert run(["train", str(RECIPES / "audio_pretraining.yaml"), *words]) == 0
    assert capsys.readouterr().err == ""
