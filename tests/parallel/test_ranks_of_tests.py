"""tests/parallel/ranks.py: what a failure shows, and that only an abort is started again."""

import os
import sys
from pathlib import Path

import pytest
import ranks
from ranks import on_ranks

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]


def aborts_at_first(folder: str) -> str:
    if os.environ["RANK"] == "0" and not Path(folder, "seen").exists():
        Path(folder, "seen").touch()
        os.write(sys.stderr.fileno(), b"why it ends")
        os.abort()
    return "made"


def fails(folder: str) -> None:
    with Path(folder, "runs").open("a") as file:
        file.write(".")
    os.write(sys.stderr.fileno(), b"what was said")
    raise ValueError("broken")


def test_an_abort_is_shown_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "ABORTED", tmp_path / "aborted.txt")
    assert on_ranks(tmp_path, 2, aborts_at_first, str(tmp_path)) == ["made", "made"]
    assert "why it ends" in (tmp_path / "aborted.txt").read_text()


def test_an_error_is_not_started_again_and_shows_what_was_said(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="broken") as caught:
        on_ranks(tmp_path, 1, fails, str(tmp_path))
    assert "what was said" in caught.value.__notes__[0]
    assert (tmp_path / "runs").read_text() == "."
