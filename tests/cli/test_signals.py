"""A signal outside the training loop gives one line and exit code 130, in real processes, at any time."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from signalled import LONG, SLOW, line_after_signal
from toy_run import RECIPES, ToyRun

from talkies.cli.main import run

pytestmark = pytest.mark.timeout(600)
BOTH = [signal.SIGTERM, signal.SIGINT]
LATE = """
import os, signal, sys
import talkies.cli.{verb} as verb
from talkies.cli.main import run
real = verb.run
def late(args):
    code = real(args)
    os.kill(os.getpid(), {number})
    return code
verb.run = late
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(run())
"""
"""A program like `talkies` that receives a signal when its verb has finished."""


def program(module: str, name: str, marker: Path) -> list[str]:
    return ["-c", SLOW.format(module=module, name=name, marker=str(marker))]


def test_while_the_recipe_is_read(tmp_path: Path) -> None:
    marker = tmp_path / "reading"
    slow = program("talkies.config.source", "load", marker)
    words = [str(RECIPES / "audio_pretraining.yaml"), "--runs", str(tmp_path / "runs")]
    assert (
        line_after_signal(signal.SIGTERM, words, ready=marker.exists, program=slow) == "talkies: interrupted by SIGTERM"
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", BOTH)
def test_while_lightning_builds_the_model(toy_run: ToyRun, tmp_path: Path, number: signal.Signals) -> None:
    """The run's status is KILLED, and the same command continues it."""
    words = [str(RECIPES / "audio_pretraining.yaml"), *LONG, f"data.root={toy_run.data}", "--runs", str(tmp_path)]
    marker = tmp_path / "building"
    slow = program("talkies.runs.train", "build_model", marker)
    assert (
        line_after_signal(number, words, ready=marker.exists, program=slow) == f"talkies: interrupted by {number.name}"
    )
    (folder,) = tmp_path.glob("audio_pretraining-*/0001")
    lines = [json.loads(line) for line in (folder / "spool.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines if line["kind"] == "status"] == ["RUNNING", "KILLED"]
    assert run(["train", *words, "--stop-at", "1", "--quiet"]) == 0
    assert list((folder / "checkpoints").glob("step-00000001"))


@pytest.mark.parametrize("verb", ["plan", "show", "status", "replay"])
@pytest.mark.parametrize("number", BOTH)
def test_just_before_a_verb_returns(toy_run: ToyRun, tmp_path: Path, verb: str, number: signal.Signals) -> None:
    """The output is complete, and the signal counts although no check of the verb saw it."""
    words = {"plan": RECIPES / "lora.yaml", "show": RECIPES / "lora.yaml"}.get(verb, toy_run.phase("lora"))
    code = LATE.format(verb=verb, number=int(number))
    done = subprocess.run([sys.executable, "-c", code, verb, str(words)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, f"talkies: interrupted by {number.name}\n")
    assert "lora" in done.stdout


def rendered(folder: Path) -> bool:
    """Whether a clip is there. Folders may vanish while they are searched."""
    with suppress(FileNotFoundError):
        return any(folder.rglob("*.mp4"))
    return False


@pytest.mark.ranks
def test_ctrl_c_twice_while_clips_are_rendered(tmp_path: Path) -> None:
    """As a terminal sends it, to the processes that render, too: one line, and nothing of Python's own."""
    command = [sys.executable, "-m", "talkies.cli.main", "prepare", str(RECIPES / "curriculum.yaml"), "--quiet"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in `line_after_signal`
    try:
        process = subprocess.Popen(
            [*command, "--runs", str(tmp_path)], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    while not rendered(tmp_path):
        assert process.poll() is None
        time.sleep(0.05)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (130, "talkies: interrupted by SIGINT\n")
