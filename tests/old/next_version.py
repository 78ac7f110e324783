"""The talkies of tomorrow: a copy of the sources in which a phase, a preparation, a source, a set and a codec have keys
of other names, renamed as contributing.md says."""

import re
import shutil
from pathlib import Path

from talkies.config.migrations import MIGRATIONS, NEWEST

SOURCES = Path(__file__).parents[2] / "src"
MIGRATION = f'''

def from_{NEWEST}(values: Values) -> Values:
    """Rename keys."""
    renamed(values, "survival", "toughness")
    renamed(values, "fit_clips", "fit_count")
    for source in values.get("sources", {{}}).values():
        renamed(source, "size", "side")
    for one in values.get("sets", {{}}).values():
        renamed(one, "duration_token", "spoken")
    renamed(values.get("codecs", {{}}).get("video", {{}}), "motion", "moving")
    return values


def renamed(values: Values, old: str, new: str) -> None:
    """Rename a key that may be absent."""
    if old in values:
        values[new] = values.pop(old)

'''
KNOWN = ", ".join(migration.__name__ for migration in MIGRATIONS)
CHANGES = [
    ("config/migrations.py", rf"\n(MIGRATIONS: .*)\({KNOWN}\)\n", rf"{MIGRATION}\n\1({KNOWN}, from_{NEWEST})\n"),
    ("config/canonical.py", '"survival"', '"toughness"'),
    ("recipe/config.py", "    survival: ", "    toughness: "),
    ("**/*.py", r"\.survival\b", ".toughness"),
    ("prepare/config.py", "import added", "import added, renamed"),
    ("prepare/config.py", "fit_clips: Clips = 256", 'fit_count: Clips = renamed("fit_clips", default=256)'),
    ("prepare/fitting.py", r"config\.fit_clips", "config.fit_count"),
    ("prepare/config.py", "duration_token: bool = False", 'spoken: bool = renamed("duration_token", default=False)'),
    ("prepare/*.py", r"\.duration_token\b", ".spoken"),
    ("world/config.py", "import added", "import added, renamed"),
    ("world/config.py", "size: Side = 32", 'side: Side = renamed("size", default=32)'),
    ("world/*.py", r"source\.size\b", "source.side"),
    ("codecs/config.py", r"from talkies\.config import config\n", r"\g<0>from talkies.config.schema import renamed\n"),
    ("codecs/config.py", "motion: Channels = 2", 'moving: Channels = renamed("motion", default=2)'),
    ("codecs/*.py", r"\.motion\b", ".moving"),
]
"""Files, what they have (a regular expression), and what takes its place."""


def next_version(folder: Path) -> Path:
    """Make the copy in `folder`; returns what PYTHONPATH must have."""
    root = folder / "src" / "talkies"
    shutil.copytree(SOURCES / "talkies", root, ignore=shutil.ignore_patterns("__pycache__"))
    for files, before, after in CHANGES:
        found = 0
        for path in root.glob(files):
            text, count = re.subn(before, after, path.read_text())
            found += count
            path.write_text(text)
        assert found, f"{files} has no {before}"
    return root.parent
