"""What `talkies sample` cannot make of scripts and voices is one line and an exit code; nothing is written."""

import shutil
from pathlib import Path

import pytest
from speaking import recorded, sample, voice

from talkies.cli.main import run

SAID = ("--script", "script.txt")
BAD: dict[str, tuple[list[str], int, str]] = {
    "no script": (["--script", "none.txt"], 2, "sample: --script: cannot read 'none.txt': No such file"),
    "empty": (["--script", "empty.txt"], 2, "sample: --script is empty: write what is said"),
    "no letter": (["--script", "dots.txt"], 2, "sample: --script: it says nothing: no letter and no digit"),
    "not UTF-8": (["--script", "latin.txt"], 2, "sample: --script: 'latin.txt' is not UTF-8 at byte 1"),
    "control": (["--script", "bell.txt"], 2, "sample: --script: it has the control character U+0007 at position 2"),
    "control in a prompt": (["--prompt", "<script> a\x07b"], 2, "sample: --prompt: it has the control character"),
    "a mark": (["--script", "mark.txt"], 2, "sample: --script has the mark <describe>"),
    "too large": (["--script", "large.txt"], 2, "sample: --script: cannot read 'large.txt': it has 65537 bytes"),
    "a folder": (["--script", "."], 2, "sample: --script: cannot read '.': it is a folder"),
    "too long": (
        ["--script", "long.txt"],
        2,
        "the script of --script takes 3.0 s at this model's pace, and it makes at most 2 s: shorten it, or",
    ),
    "too long at any pace": (
        ["--script", "longer.txt"],
        2,
        "the script of --script takes at least 2.40 s, and this model makes at most 2 s: shorten it",
    ),
    "too fast": (
        [*SAID, "--seconds", "0.5"],
        2,
        "the script of --script takes at least 0.60 s, and --seconds is 0.5: shorten it, or give more seconds",
    ),
    "a fast line": (
        ["--prompts", "fast.jsonl", "--out", "o"],
        2,
        "the script of fast.jsonl line 2: `script` takes at least 1.20 s, and fast.jsonl line 2: `seconds` is 1:",
    ),
    "no speaker": (
        ["--script", "zero.txt"],
        2,
        "sample: --script: it has '[S0]', which would be said: a speaker is written [S1] to [S99]",
    ),
    "an open mark": (["--prompt", "<script> [S1 a"], 2, "sample: --prompt: it has '[S1', which would be said"),
    "pixels": (
        [*SAID, "--geometry", "32x32x25@12.5"],
        2,
        "sample: --geometry 32x32x25@12.5 is of pictures, and cloning phases make sound alone: give seconds, such as",
    ),
    "a negative prompt without a voice": (
        [*SAID, "--negative", "noise", "--text-scale", "1"],
        2,
        "sample: --negative: without a voice no evaluation leaves the prompt out",
    ),
    "a negative line without a voice": (
        ["--prompts", "negative.jsonl", "--out", "o", "--text-scale", "1"],
        2,
        "negative.jsonl line 2: `negative`: without a voice no evaluation leaves the prompt out",
    ),
    "prompt and script": (["--prompt", "a", "--script", "script.txt"], 2, "--prompt and --script both say what to"),
    "no description": (["--describe", " "], 2, "sample: --describe is empty: say how it sounds"),
    "no seconds": ([*SAID, "--seconds", "0"], 2, "--seconds is 0.0: this model makes 0.04 to 2 s"),
    "too many seconds": ([*SAID, "--seconds", "2.1"], 2, "--seconds is 2.1: this model makes 0.04"),
    "not a number": ([*SAID, "--seconds", "nan"], 2, "--seconds is nan: this model makes 0.04"),
    "consent alone": ([*SAID, "--consent", "x"], 2, "--consent is for the voice of --voice"),
    "consent of lines": (
        [*SAID, "--voice", "low.wav", "--consent", "a\nb"],
        2,
        "sample: --consent is 'a\\nb': give one line of at most 1,000 characters",
    ),
    "a scale without a voice": (
        [*SAID, "--reference-scale", "2"],
        2,
        "sample: the scale reference guides by the voice that is given: give --voice, or drop it",
    ),
    "no prompt": (["--voice", "low.wav"], 2, "sample: --prompt is missing: describe what is seen and heard, or, for a"),
    "no voice file": ([*SAID, "--voice", "none.wav"], 65, "sample: --voice: none.wav: the file"),
    "not media": ([*SAID, "--voice", "script.txt"], 65, "sample: --voice: script.txt: has neither"),
    "silent": ([*SAID, "--voice", "silent.wav"], 65, "sample: --voice: silent.wav is silent"),
    "short": ([*SAID, "--voice", "short.wav"], 65, "sample: --voice: short.wav sounds for 0.30 s: at least 0.5 s"),
    "clipped": ([*SAID, "--voice", "clipped.wav"], 65, "sample: --voice: clipped.wav is clipped"),
    "an image": ([*SAID, "--image", "low.wav"], 2, "--image: mirage_audio models take no such"),
    "of another kind": ([*SAID, "--out", "a.avi"], 2, "must end in .mp4, or of sound alone in .wav"),
    "a line": (["--prompts", "bad.jsonl", "--out", "o"], 2, "bad.jsonl line 2: `seconds` is '1'; needed a number"),
    "a line with both": (["--prompts", "both.jsonl", "--out", "o"], 2, "both.jsonl line 1: `prompt` and `script`"),
    "a silent line": (["--prompts", "silent.jsonl", "--out", "o"], 65, "silent.jsonl line 1: `voice`: silent.wav is"),
    "consent of no line": (["--prompts", "p.txt", "--out", "o", "--consent", "x"], 2, "--consent is for voices that"),
    "a script of many": (["--prompts", "p.txt", "--out", "o", "--script", "script.txt"], 2, "--script is for one clip"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    speaking: Path, here: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, code, message = BAD[case]
    texts = {"empty": " \n", "dots": "... [S1]", "bell": "ab\x07", "mark": "<describe> a", "long": "a" * 30, "p": "a"}
    texts |= {"longer": "a" * 60, "zero": "[S0] a [S2] b"}
    for name, text in (*texts.items(), ("large", "a" * 65_537)):
        Path(f"{name}.txt").write_text(text)
    Path("latin.txt").write_bytes("n\u00e9".encode("latin-1"))
    Path("bad.jsonl").write_text('{"script": "a"}\n{"script": "b", "seconds": "1"}\n')
    Path("both.jsonl").write_text('{"script": "a", "prompt": "b"}\n')
    Path("fast.jsonl").write_text('{"script": "a"}\n{"script": "%s", "seconds": 1}\n' % ("b" * 30))
    lines = ('{"script": "a", "voice": "low.wav", "negative": "b"}', '{"script": "a", "negative": "b"}')
    Path("negative.jsonl").write_text("\n".join(lines))
    Path("silent.jsonl").write_text('{"script": "a", "voice": "silent.wav"}\n')
    recorded(Path("silent.wav"), voice() * 0)
    recorded(Path("short.wav"), voice(0.3))
    recorded(Path("clipped.wav"), (4 * voice()).clamp(-0.6, 0.6))
    before = sorted(Path().iterdir())
    assert sample(speaking, *words) == code
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert message in line
    assert not captured.out
    assert sorted(Path().iterdir()) == before


def test_what_a_model_cannot_be_given_is_refused(
    speaking: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(speaking, *SAID, "--voice", "low.wav", model="design") == 2
    assert "takes no voice; drop it" in capsys.readouterr().err
    assert sample(speaking, *SAID, "--reference-scale", "2", model="design") == 2
    assert "sample: --reference-scale 2.0 needs a reference, which design phases lack" in capsys.readouterr().err
    assert sample(speaking, *SAID, "--negative", "<describe>", model="apart") == 2
    assert "--negative says neither what is heard nor what is said: write it, or drop it" in capsys.readouterr().err
    plan = ["plan", str(speaking / "cloning"), "--sample", "--geometry", "32x32x25@12.5"]
    assert run(plan) == 2
    assert "plan: --geometry 32x32x25@12.5 is of pictures" in capsys.readouterr().err
    assert not list(here.glob("sample*"))


def test_weights_are_not_read_for_what_is_refused(
    speaking: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = here / "broken"
    shutil.copytree(speaking / "cloning", broken)
    for path in broken.glob("*.safetensors"):
        path.write_bytes(b"")
    Path("long.txt").write_text("a" * 30)
    for words, code in ((["--script", "long.txt"], 2), ([*SAID, "--voice", "script.txt"], 65)):
        assert run(["sample", str(broken), *words]) == code
        assert "safetensors" not in capsys.readouterr().err
    assert run(["sample", str(broken), "--script", "script.txt"]) == 65
    assert "safetensors" in capsys.readouterr().err
