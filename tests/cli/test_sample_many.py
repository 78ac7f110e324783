"""`talkies sample` with --prompts, --batch, --geometry and --tiles, of a real run."""

import json
import re
from pathlib import Path

import pytest
from toy_run import ToyRun

from talkies.cli.main import run
from talkies.media.probe import probe

pytestmark = pytest.mark.timeout(600)


def sample(toy_run: ToyRun, *words: object, phase: str = "joint_phase2") -> int:
    return run(["sample", str(toy_run.phase(phase)), *map(str, words), "--runs", str(toy_run.runs)])


def test_many_prompts_become_many_files(toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one batch with their guidance; the second call has nothing to do. A line is what --prompt makes of it."""
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text("# of the mask\nThe happy silver mask\nThe sad jade mask\n")
    many = ["--prompts", prompts, "--out", out, "--batch", 4, "--text-scale", 3, "--negative", "blur", "--seed", 2]
    assert sample(toy_run, *many) == 0
    said = capsys.readouterr()
    names = ["0001-the-happy-silver-mask.mp4", "0002-the-sad-jade-mask.mp4"]
    assert sorted(p.name for p in out.iterdir()) == [*names, "clips.json"]
    assert [clip["seed"] for clip in json.loads((out / "clips.json").read_text())["clips"]] == [2, 2]
    (warning,) = said.err.splitlines()
    assert warning.startswith("talkies: warning: sample: 2 of 2 clips begin with a white frame")
    assert sample(toy_run, *many) == 0
    assert capsys.readouterr().out == "sample:   2 of 2 clips are there\n"


def test_a_geometry_of_one_s_own(toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.mp4"
    assert sample(toy_run, "--prompt", "a mask", "--out", out, "--geometry", "48x32x13@25") == 0
    info = probe(out)
    assert (info.height, info.width, info.frames, info.fps) == (48, 32, 13, 25.0)
    assert capsys.readouterr().err.startswith("talkies: warning: sample: the clip begins with a white frame")


BAD = {
    "form": (
        ["--prompt", "a", "--geometry", "48x32"],
        2,
        "sample: `--geometry` is '48x32'; needed HEIGHTxWIDTHxFRAMES",
    ),
    "codec": (
        ["--prompt", "a", "--geometry", "44x32x13@25"],
        2,
        "sample: --geometry 44x32x13@25: height 44 does not fit",
    ),
    "frames": (["--prompt", "a", "--geometry", "48x32x14@25"], 2, "sample: --geometry 48x32x14@25: 14 frames do not"),
    "patch": (["--prompt", "a", "--geometry", "40x32x13@25"], 2, "sample: --geometry 40x32x13@25: video: .*patch"),
    "batch": (["--prompt", "a", "--batch", "0"], 2, "sample: --batch 0: give a value from 1 to 1024"),
    "tiles": (
        ["--prompt", "a", "--tiles", "64"],
        2,
        "sample: --tiles 64: linear_video codecs do not decode in tiles",
    ),
    "both": (["--prompt", "a", "--prompts", "p.txt"], 2, "sample: --prompt is for one clip: drop it"),
    "no folder": (["--prompts", "p.txt"], 2, "sample: --out is missing: with --prompts"),
    "a file": (["--prompts", "p.txt", "--out", "a.mp4"], 2, "sample: --out a.mp4 is a file: with --prompts"),
    "no prompts": (
        ["--prompts", "none.txt", "--out", "o"],
        2,
        "sample: cannot read the prompts none.txt: No such file",
    ),
    "overlap": (
        ["--prompts", "p.txt", "--out", "o", "--overlap", "1"],
        2,
        "sample: --overlap .*: no line has an `audio`",
    ),
    "no image": (
        ["--prompts", "i.jsonl", "--out", "o"],
        65,
        "i.jsonl line 2: `image`: cannot read 'x.png': No such fil",
    ),
    "bad image": (["--prompts", "b.jsonl", "--out", "o"], 65, "b.jsonl line 1: `image`: image p.txt is no PNG"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    toy_run: ToyRun, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words, code, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("a\n")
    Path("i.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "image": "x.png"}\n')
    Path("b.jsonl").write_text('{"prompt": "b", "image": "p.txt"}\n')
    assert sample(toy_run, *words) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("talkies: ")
    assert re.search(message, line), line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.jsonl", "i.jsonl", "p.txt"]


def test_a_sound_has_no_tiles_and_no_white_frame(
    toy_run: ToyRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prompt", "a", "--out", tmp_path / "a.mp4"]
    assert sample(toy_run, *words, phase="audio_pretraining") == 0
    assert not capsys.readouterr().err
    assert sample(toy_run, *words, "--tiles", 64, phase="audio_pretraining") == 2
    assert "is for pictures, which audio_pretraining phases lack" in capsys.readouterr().err


def test_sound_alone_becomes_a_sound_file_of_any_length(toy_run: ToyRun, tmp_path: Path) -> None:
    for out, words in (("a.wav", ()), ("b.flac", ("--seconds", "0.5"))):
        assert sample(toy_run, "--prompt", "a", "--out", tmp_path / out, *words, phase="audio_pretraining") == 0
    whole, short = (probe(tmp_path / name).audio_seconds for name in ("a.wav", "b.flac"))
    assert whole == pytest.approx(2.0, abs=0.08)
    assert short == pytest.approx(0.5, abs=0.08)
    prompts = tmp_path / "p.txt"
    prompts.write_text("a\n")
    assert sample(toy_run, "--prompts", prompts, "--out", tmp_path / "o", phase="audio_pretraining") == 0
    assert (tmp_path / "o" / "0001-a.wav").is_file()
