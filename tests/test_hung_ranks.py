"""What conftest.py does with a test whose ranks hang."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[1]
TESTS = """
import subprocess, sys
from pathlib import Path
import pytest

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(60)]
HANGS = "import time\\ndef waiting_for_ever():\\n    time.sleep(600)\\nwaiting_for_ever()"

def test_hangs_once():
    flag = Path(__file__).with_name("flag")
    if not flag.exists():
        flag.touch()
        subprocess.run([sys.executable, "-c", HANGS], check=True)

def test_hangs_again_in_a_child_of_its_child():
    subprocess.run([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HANGS!r}])"])

def test_fails():
    assert False, "ordinary"
"""


def test_its_stacks_are_shown_and_it_is_repeated_once(tmp_path: Path) -> None:
    """The flags are those of pyproject.toml; the reports lie in a copy, since those of this run must stay. A hang is
    noticed early: a busy machine needs the rest of the time to report both."""
    text = (ROOT / "conftest.py").read_text()
    assert "HUNG_SHARE = 0.45\n" in text
    (tmp_path / "conftest.py").write_text(text.replace("HUNG_SHARE = 0.45\n", "HUNG_SHARE = 0.2\n"))
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_hanging.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-m", "ranks", "-n", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1
    assert "2 failed, 1 passed, 2 rerun" in done.stdout
    assert "conftest.HungError: 2 processes hung" in done.stdout
    told = (tmp_path / "hung_ranks.txt").read_text()
    assert told.count("waiting_for_ever (<string>:3)") == 3
    assert "ranks that hung in a test, which was repeated once" in done.stdout
