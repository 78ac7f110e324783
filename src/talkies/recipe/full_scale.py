"""The full-scale recipes that come with talkies, which MODEL_CARDS.md lists as never trained here."""

from pathlib import Path

ROOT = Path(__file__).parent / "recipes"
"""A link to the folder of the repository; in an installation, a copy of it."""
OTHERS = {"kind: prepare", "kind: curriculum"}
"""Lines of recipes that train nothing themselves."""


def full_scale() -> list[tuple[str, str]]:
    """(path, first comment) of every full-scale phase recipe."""
    found = []
    for path in sorted(ROOT.glob("*/*.yaml")):
        lines = path.read_text().splitlines()
        if any(line.startswith("name:") for line in lines) and not OTHERS & {*lines}:  # the others are extended
            found.append((str(path.relative_to(ROOT.parent)), lines[0].lstrip("# ")))
    return found
