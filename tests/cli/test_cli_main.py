"""The entry point: late imports, one line per error, exit codes."""

import argparse
import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.cli.main import VERBS, run
from talkies.config import CheckpointError, DataError, Interruption, RecipeError

ROOT = Path(__file__).parents[2]
READS = {"pydantic", "omegaconf", "yaml"}
"""Modules that reading a recipe needs."""
HEAVY = {"torch", "lightning", "mlflow", "transformers", "diffusers", "peft", "rich", *READS}


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], None]:
    """Adds a verb `probe` that raises a given error."""

    def add(error: BaseException | None) -> None:
        module = types.ModuleType("probe_verb")

        def act(args: argparse.Namespace) -> int:
            if error is not None:
                raise error
            sys.stdout.write(f"{args.overrides} {args.flag}\n")
            return 5

        def add_arguments(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("recipe")
            parser.add_argument("overrides", nargs="*")
            parser.add_argument("--flag", action="store_true")

        module.__dict__.update(add_arguments=add_arguments, run=act)
        monkeypatch.setitem(sys.modules, "probe_verb", module)
        monkeypatch.setitem(VERBS, "probe", ("probe_verb", "for the tests"))

    return add


def child(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_help_imports_nothing_heavy_and_no_verb() -> None:
    done = child(
        "import sys; from talkies.cli.main import run; run(['--help'])\n"
        "verbs = (m for m in sys.modules if m.startswith('talkies.cli.'))\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules}, *verbs)"
    )
    text, _, loaded = done.stdout.partition("LOADED")
    assert all(name in text for name in VERBS)
    assert not HEAVY & set(loaded.split())
    assert not {module for module, _ in VERBS.values()} & set(loaded.split())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_its_options_without_heavy_imports(name: str) -> None:
    code = (
        "import sys; from talkies.cli.main import run\n"
        f"try: run([{name!r}, '--help'])\nexcept SystemExit as done: assert done.code == 0\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    )
    done = child(code)
    assert f"usage: talkies {name}" in done.stdout, done.stderr
    assert not HEAVY & set(done.stdout.partition("LOADED")[2].split())


@pytest.mark.parametrize("text", ["kind: phase\nname: x\nfoo: 1\n", "kind: curriculum\nname: x\nfoo: 1\n"])
def test_train_refuses_a_recipe_without_heavy_imports(tmp_path: Path, text: str) -> None:
    """Such imports take seconds."""
    (tmp_path / "bad.yaml").write_text(text)
    done = child(
        f"import sys; from talkies.cli.main import run; assert run(['train', {str(tmp_path / 'bad.yaml')!r}]) == 2\n"
        "print('LOADED', *{m.split('.')[0] for m in sys.modules})"
    )
    assert "unknown key `foo`" in done.stderr
    assert not (HEAVY - READS) & set(done.stdout.partition("LOADED")[2].split())


def test_overrides_may_stand_after_options(verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    verb(None)
    assert run(["probe", "x.yaml", "a.b=1", "--flag", "c=-2"]) == 5
    assert capsys.readouterr().out == "['a.b=1', 'c=-2'] True\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RecipeError("recipe: no"), 2, "talkies: recipe: no\n"),
        (DataError("data: no"), 65, "talkies: data: no\n"),
        (CheckpointError("parent: no"), 65, "talkies: parent: no\n"),
        (KeyboardInterrupt(), 130, "talkies: interrupted\n"),
        (Interruption("SIGTERM"), 130, "talkies: interrupted by SIGTERM\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            74,
            "talkies: storage: No space left on device at /x/y;",
        ),
        (OSError(errno.EROFS, "Read-only file system"), 74, "talkies: storage: Read-only file system;"),
    ],
)
def test_errors_are_one_line(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    verb(error)
    assert run(["probe", "x"]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_an_internal_error_is_one_line_that_says_how_to_see_more(
    verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verb(TypeError("ours"))
    assert run(["probe", "x"]) == 70
    assert "internal error: TypeError: ours; " in capsys.readouterr().err
    monkeypatch.setenv("TALKIES_TRACEBACK", "1")
    with pytest.raises(TypeError, match="ours"):
        run(["probe", "x"])


def test_an_environment_variable_shows_the_traceback(
    verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb(RecipeError("recipe: no"))
    monkeypatch.setenv("TALKIES_TRACEBACK", "1")
    with pytest.raises(RecipeError):
        run(["probe", "x"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shw"], "talkies: usage: unknown verb 'shw'. Did you mean 'show'?"),
        (["frobnicate"], "Verbs: prepare, plan, train"),
        (["probe"], "talkies: probe: the following arguments are required: recipe; see talkies probe --help"),
        (["probe", "x", "--flog"], "talkies: probe: unrecognized arguments: --flog"),
    ],
)
def test_usage_errors_exit_2(
    verb: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    verb(None)
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_no_verb_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "usage: talkies VERB" in capsys.readouterr().out


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m talkies.cli.main show --schema | head -c 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 if everything fitted into the pipe's buffer
