"""talkies VERB ...: one function per verb, imported when it is called. Here errors become one line."""

from talkies.signals import entry  # first: from here on no signal is lost

# isort: split

import argparse
import difflib
import errno
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from talkies.cli.output import bounded, local_path, open_streams, refuse_unreadable, silence, usage_words
from talkies.config.errors import Interruption, RecipeError, UserError
from talkies.config.quoting import WIDTH, shown
from talkies.signals.answer import check_signal, listening
from talkies.signals.watch import follower, set_exit_code

VERBS = {
    "prepare": ("talkies.cli.prepare", "media files to filtered, captioned, encoded clips in shards"),
    "plan": ("talkies.cli.plan", "parameters, tokens, FLOPs, memory and disk of a recipe, before it runs"),
    "train": ("talkies.cli.train", "one phase, or every phase of a curriculum in order"),
    "submit": (
        "talkies.cli.submit",
        "plan a recipe and queue it under Slurm: a job per phase, in order",
    ),
    "status": ("talkies.cli.status", "how far runs are and where they are tracked; the jobs of submitted ones"),
    "cancel": ("talkies.cli.cancel", "cancel the jobs of a submitted run"),
    "sample": ("talkies.cli.sample", "a run, a checkpoint, a release or models:/name@alias to a clip"),
    "perform": ("talkies.cli.perform", "takes of a script, and the film of the one that is chosen"),
    "evaluate": ("talkies.cli.evaluate", "metrics per modality, per noise bin and for synchronisation"),
    "import": ("talkies.cli.import_", "released weights of a known layout as a release"),
    "export": ("talkies.cli.export", "a release as a folder of a known layout, or a checkpoint as a release"),
    "promote": ("talkies.cli.promote", "gates on metrics, then a registry version, an alias and a model card"),
    "rollback": ("talkies.cli.rollback", "move an alias back to the version that it held before"),
    "replay": ("talkies.cli.replay", "send what a run's spool still holds to MLflow, once"),
    "show": ("talkies.cli.show", "the resolved recipe and where each value came from"),
}
USAGE = "usage: talkies VERB ... (talkies VERB --help says more)"
STORAGE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO}
INTERRUPTED, BROKEN_PIPE, STORAGE_EXIT, INTERNAL = 130, 141, 74, 70
HERE = Path(__file__).parents[1]
WARNING = "talkies: warning: "


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are RecipeErrors: one line, exit code 2."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        """As argparse's, but `nargs="*"` is never reported as required (intermixed parsing does so without a default),
        and a path that is a URI is refused."""
        if options.get("nargs") == "*":
            options.setdefault("default", [])
        if options.get("type") is Path:
            options["type"] = local_path
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{self.prog.removeprefix('talkies ')}: {usage_words(message)}; see {self.prog} --help")


def run(argv: Sequence[str] | None = None) -> int:
    """The console script: run a verb and return the exit code. With `argv`: the same within another program, whose
    signal handlers are restored afterwards.

    A UserError becomes one line on stderr and its own exit code, an interruption 130, a full or read-only disk 74. With
    TALKIES_TRACEBACK=1 the traceback is shown instead.
    """
    open_streams()
    if argv is None:
        entry.listen()
        return set_exit_code(_run(sys.argv[1:]))
    with listening():
        return _run(list(argv))


def _run(arguments: list[str]) -> int:  # noqa: PLR0911 (one return per kind of error)
    if os.environ.get("TALKIES_TRACEBACK") == "1":
        return _dispatch(arguments)
    try:
        with _plain_warnings():
            code = _dispatch(arguments)
        sys.stdout.flush()
    except UserError as error:
        return _complain(str(error), error.exit_code)
    except (Interruption, KeyboardInterrupt) as error:
        return _complain(str(error) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        silence()
        return BROKEN_PIPE
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        if error.errno not in STORAGE:
            return _complain(f"files: {error.strerror or error}{where}; give another path", RecipeError.exit_code)
        return _complain(
            f"storage: {error.strerror}{where}; free space or write elsewhere (this includes standard output)",
            STORAGE_EXIT,
        )
    except Exception as error:
        hint = "this is a bug or a damaged file; TALKIES_TRACEBACK=1 shows the traceback"
        return _complain(f"internal error: {type(error).__name__}: {bounded(str(error))}; {hint}", INTERNAL)
    return code


class _OneLine(logging.Handler):
    """Prints log records in the form of warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print to the current sys.stderr, which a progress bar replaces while it is shown."""
        with suppress(OSError):  # a warning that cannot be shown ends nothing
            print(f"{WARNING}{bounded(' '.join(record.getMessage().split()))}", file=sys.stderr)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Within the block a warning is one line on stderr, without Python's file name and source line."""
    handler, logger, python = _OneLine(logging.WARNING), logging.getLogger("talkies"), warnings.formatwarning
    with warnings.catch_warnings():
        # Lightning's advice to programmers, such as more `num_workers`; the recipe decides these.
        warnings.filterwarnings("ignore", module=r"lightning\.")
        logger.addHandler(handler)
        # Not showwarning, which recorders of warnings (pytest) replace.
        warnings.formatwarning = _one_line
        try:
            yield
        finally:
            warnings.formatwarning = python
            logger.removeHandler(handler)


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as it is printed: our own as they are, a library's with its name, none that is for programmers."""
    del lineno, line
    text = bounded(" ".join(str(message).split()))
    path = Path(filename)
    if path.is_relative_to(HERE):
        return f"{WARNING}{text}\n"
    if issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning | ResourceWarning):
        return ""
    library = path.parts[path.parts.index("site-packages") + 1] if "site-packages" in path.parts[:-1] else path.stem
    return f"{WARNING}{library}: {text}\n"


def _complain(message: str, code: int) -> int:
    if not follower():
        with suppress(OSError):  # the terminal may be gone
            print(f"talkies: {bounded(message)}", file=sys.stderr)
    return code


def _dispatch(arguments: list[str]) -> int:
    refuse_unreadable(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"talkies {version('talkies')}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb[:WIDTH], VERBS, 1)
        hint = f"Did you mean {shown(near[0])}?" if near else f"Verbs: {', '.join(VERBS)}"
        raise RecipeError(f"usage: unknown verb {shown(verb)}. {hint}")
    from talkies.cli.versions import check_versions

    check_versions()
    name, summary = VERBS[verb]
    module = importlib.import_module(name)
    waits = os.environ.get("TALKIES_REQUEUE") == "1"
    if not waits:  # a job can answer a preemption only once `train` knows the job, and never after it has finished
        check_signal()
    parser = _Parser(prog=f"talkies {verb}", description=summary, allow_abbrev=False)
    module.add_arguments(parser)
    try:
        parsed = parser.parse_intermixed_args(arguments[1:])
    except SystemExit as done:  # --help: return, so that the output is flushed where a failure is handled
        return int(done.code or 0)
    parsed.argv = arguments
    code = int(module.run(parsed))
    if code == 0 and not waits:
        check_signal()  # a signal that arrived after the verb's last check
    return code


def _help() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {summary}" for verb, (_, summary) in VERBS.items()]
    about = "Train, sample and promote joint video-audio diffusion models from recipes."
    return "\n".join([USAGE, "", about, "", *lines])


if __name__ == "__main__":
    sys.exit(run())
