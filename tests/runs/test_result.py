"""What a result records about its origin."""

import subprocess
from pathlib import Path

import pytest

from talkies.runs import result


def repository(folder: Path) -> str:
    """A repository in `folder` with all that lies there; returns its commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    ("place", "known"),
    [
        ("src/talkies/runs", True),
        (".venv/lib/site-packages/talkies/runs", False),
        ("ours/src/talkies/runs", False),
    ],
)
def test_the_commit_is_that_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, known: bool
) -> None:
    """An installation, or a copy, in a repository of another project has none."""
    file = tmp_path / place / "result.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(result, "__file__", str(file))
    assert result.commit() == "unknown", "no repository"
    commit = repository(tmp_path)
    assert result.commit() == (commit if known else "unknown")
    file.write_text("changed")
    assert result.commit() == (f"{commit}-dirty" if known else "unknown")
