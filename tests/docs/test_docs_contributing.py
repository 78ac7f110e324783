"""What contributing.md adds works: its files and changes, applied to a copy of the code, do what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text()
FILES = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DIFFS = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def apply(diff: str, root: Path) -> None:
    """Change the files of a diff, each of whose parts must be found exactly once."""
    for change in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *parts = re.split(r"^@@\n", change, flags=re.MULTILINE)
        path = root / name.strip()
        text = path.read_text()
        for part in parts:
            lines = part.splitlines(keepends=True)
            before, after = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
            assert text.count(before) == 1, f"{name.strip()} has not once:\n{before}"
            text = text.replace(before, after)
        path.write_text(text)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with all that the page adds."""
    root = tmp_path_factory.mktemp("changed")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "recipes", root / "recipes")
    for name, text in FILES:
        assert not (root / name).exists(), f"{name} is there already"
        (root / name).write_text(text)
    for diff in DIFFS:
        apply(diff, root)
    return root


def test_what_is_added_works(changed: Path) -> None:
    assert [Path(name).name for name, _ in FILES] == ["level.py", "heun.py", "pooled_video.py", "kohya.py"]
    command = [sys.executable, str(Path(__file__).with_name("added.py")), str(changed)]
    paths = os.pathsep.join([str(changed / "src"), str(ROOT / "tests" / "flow")])
    found = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
