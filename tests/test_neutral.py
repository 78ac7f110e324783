"""The packages that every system shares name none: what they need of one they are given."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "talkies"
PACKAGES = [
    "training",
    "data",
    "checkpoints",
    "parallel",
    "tracking",
    "launch",
    "files",
    "resilience",
    "runs",
    "cli",
    "planning",
    "weights",
]
WORDS = ["mova", "mirage", "mtv", "bridge", "expert", "tower", "mask_channels"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_system_is_named(package: str) -> None:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().lower().splitlines(), 1):
            found += [f"{name}:{number}: {word}" for word in WORDS if word in line]
    assert not found
