"""Standard streams that are closed or full, and arguments that messages must escape."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_run import ToyRun

from talkies.cli.main import run
from talkies.cli.output import LONGEST, bounded, usage_words

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
RECIPE = "recipes/mova/toy/joint_phase1.yaml"
LONG = "x" * 100_000


def shell(command: str, redirected: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m talkies.cli.main {command} {redirected}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirected", "code"),
    [
        (">&-", 0),
        ("<&-", 0),
        (">&- 2>&- <&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 74),
        (">/dev/full 2>/dev/full", 74),
    ],
)
def test_a_stream_that_is_closed_or_full(redirected: str, code: int) -> None:
    done = shell("--help", redirected)
    assert done.returncode == code
    assert b"usage" in done.stdout or ">" in redirected.partition("2>")[0]
    assert done.stderr.count(b"\n") == (1 if redirected == ">/dev/full" else 0), done.stderr
    assert b"Traceback" not in done.stderr


SLOW_SECOND = """
import sys, time
from talkies.cli.main import run
from talkies.tracking import replay
real = replay.replay
def slow(folder):
    if "lora" in folder.name:
        time.sleep(300)
    return real(folder)
replay.replay = slow
sys.exit(run())
"""
"""talkies with a `replay` that takes minutes for a LoRA."""


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_output_is_flushed_line_by_line(toy_run: ToyRun, tmp_path: Path, kind: str) -> None:
    folders = [str(toy_run.phase(name)) for name in ("high_resolution", "lora")]
    with (tmp_path / "log").open("w") as log:
        program = subprocess.Popen(
            [sys.executable, "-c", SLOW_SECOND, "replay", *folders],
            stdout=subprocess.PIPE if kind == "pipe" else log,
            text=True,
        )
    try:
        if program.stdout is not None:
            line = program.stdout.readline()
        else:
            while not (line := (tmp_path / "log").read_text()).endswith("\n"):
                assert program.poll() is None
                time.sleep(0.05)
        assert line.startswith(f"{folders[0]}: ")
        assert line.count("\n") == 1
        assert program.poll() is None
    finally:
        program.kill()
        program.communicate()


def test_a_reader_that_closes_the_pipe_ends_it_silently() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m talkies.cli.main show {RECIPE} | true; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full", ">&-", ">&- 2>&-"])
def test_a_mistake_keeps_its_exit_code(redirected: str) -> None:
    done = shell("show nowhere.yaml", redirected)
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr == (b"talkies: recipe: no file nowhere.yaml\n" if redirected == ">&-" else b"")


def test_a_file_that_is_opened_is_not_taken_for_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import sys; from talkies.cli.output import open_streams; open_streams()\n"
        f"file = open({str(tmp_path / 'x')!r}, 'w'); assert file.fileno() > 2; print('lost'); sys.stdout.flush()"
    )
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "x").read_text() == ""


def test_a_word_that_is_not_utf_8_is_refused() -> None:
    done = shell("show $'caf\\xe9.yaml'", "")
    assert done.returncode == 2
    assert done.stderr.startswith(b"talkies: usage: argument 2 is not UTF-8: 'caf\\udce9.yaml'; ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [LONG],
        ["show", LONG],
        ["show", "a/" * 50_000],
        ["show", RECIPE, f"{LONG}=1"],
        ["show", RECIPE, LONG],
        ["show", RECIPE, f"--{LONG}"],
        ["show", RECIPE, f"kind={LONG}"],
        ["show", RECIPE, f"model.kind={LONG}"],
        ["show", RECIPE, f"steps.{LONG}=1"],
        ["show", RECIPE, f"name={{{LONG}: 1}}"],
        ["train", RECIPE, "--stop-at", LONG],
        ["train", RECIPE, "--phase", LONG],
        ["status", LONG],
        ["cancel", LONG],
        ["sample", LONG, "--prompt", "x"],
        ["sample", f"models:/{LONG}", "--prompt", "x"],
        ["sample", "x", "--prompt", "x", "--seed", LONG],
        ["sample", "x", "--prompt", "x", "--out", LONG],
        ["rollback", LONG],
        ["promote", LONG],
        ["replay", LONG],
        ["evaluate", LONG],
        ["export", LONG],
        ["prepare", LONG],
        ["prepare", "recipes/mova/toy/prepare.yaml", "--part", LONG],
        ["plan", RECIPE, "--card", LONG],
        ["submit", RECIPE, "--site", LONG],
    ],
    ids=lambda words: " ".join(word[:12] for word in words),
)
@pytest.mark.parametrize("harm", ["long", "escape", "secret", "nul"])
def test_no_message_repeats_an_argument_unescaped(
    words: list[str], harm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kinds = {"escape": "\x1b[31m\n\u202ex", "secret": "https://me:sesame@host/?x=sesame#sesame", "nul": "a\0b"}
    given = [
        word.replace(LONG, kinds.get(harm, LONG)).replace("a/" * 50_000, kinds.get(harm, "a/" * 50_000))
        for word in words
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    code = run(given)
    captured = capsys.readouterr()
    assert code in (2, 65, 69)
    assert captured.out == ""
    assert len(captured.err) <= 600
    assert "sesame" not in captured.err
    assert captured.err.removesuffix("\n").replace("\n", "").isprintable()
    assert captured.err.startswith("talkies: ")
    assert "internal error" not in captured.err


def test_words_of_argparse_are_cut_and_the_whole_message_bounded() -> None:
    assert usage_words(f"unrecognized arguments: {LONG} --y").endswith("xxx... --y")
    assert len(usage_words("unrecognized arguments: " + "--word " * 9999)) == 400
    assert len(bounded(f"{LONG} {LONG}")) < 900
    assert len(bounded("word " * 99_999)) == LONGEST
    assert bounded("a\x1b\nhttps://sesame@host") == "a\\x1b\nhttps://***@host"


def test_standard_output_escapes_what_a_terminal_cannot_show() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "talkies.cli.main", "show", RECIPE, "tracking.license=caf\xe9"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9" in done.stdout
