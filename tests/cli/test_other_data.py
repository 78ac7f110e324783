"""Clips of another preparation can be measured without a record, and are trained on only in the latents of the base."""

from pathlib import Path

import pytest
from toy_run import RECIPES, TINY, ToyRun

from talkies.cli.main import run
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source

pytestmark = pytest.mark.timeout(600)
PREPARE = """
kind: prepare
name: other
sources: {{clips: {{kind: folder, path: clips, heldout: 8}}}}
codecs: {{video: {{kind: linear_video}}, audio: {{kind: linear_audio}}, text: {{kind: bytes}}}}
{codecs}
sets:
  train: {{source: clips, geometry: 64x64x25@12.5}}
  kept: {{source: clips, split: heldout, geometry: 64x64x25@12.5}}
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `clips`."""
    folder = tmp_path_factory.mktemp("other")
    render_source(SyntheticSource(domain="masks", clips=14, size=64, seed=9), folder / "clips", 9, None)
    return folder


def prepared(clips: Path, name: str, codecs: str) -> Path:
    """The data root that `codecs`, a line of the recipe, makes of the clips."""
    (clips / f"{name}.yaml").write_text(PREPARE.format(codecs=codecs))
    assert run(["prepare", str(clips / f"{name}.yaml"), "--runs", str(clips / name), "--quiet"]) == 0
    (root,) = (clips / name / "data").glob("other-*")
    return root


def test_a_base_is_measured_on_other_clips_and_keeps_its_own_evaluation(
    toy_run: ToyRun, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = toy_run.phase("high_resolution")
    root = prepared(clips, "taken", f"codecs_from: {base}")
    before = {path: path.read_bytes() for path in (base / "spool.jsonl", base / "evaluation.json") if path.exists()}
    words = ["evaluate", str(base), "--data", str(root), "--clips", "4", "--runs", str(toy_run.runs)]
    assert run([*words, "--heldout", "kept"]) == 0
    assert "evaluation/heldout/video" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert (base / "evaluation.json").exists() == (base / "evaluation.json" in before)
    assert run([*words, "--heldout", "nothing"]) == 65
    assert "nothing" in capsys.readouterr().err


def test_clips_of_other_codecs_are_refused_beside_a_trained_model(
    toy_run: ToyRun, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = toy_run.phase("high_resolution")
    root = prepared(clips, "fitted", "fit_sets: [train]")
    words = ["--runs", str(clips / "runs")]
    data = [f"data.root={root}", "data.shards=train", "data.heldout=kept"]
    lora = ["train", str(RECIPES / "lora.yaml"), *TINY, *data, f"parents.base={base}", "--quiet"]
    assert run([*lora, *words]) == 65
    output = capsys.readouterr().err
    assert "was trained with video codec" in output or "was trained with audio codec" in output
    assert "(`codecs_from`)" in output
    assert run(["evaluate", str(base), "--data", str(root), "--heldout", "kept", "--clips", "4", *words]) == 65
    assert "was encoded with" in capsys.readouterr().err
