"""Installed releases that talkies never imports: malicious ones, and those with a known way to run code from a file."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from talkies.config.errors import RecipeError

MALICIOUS = ((2, 6, 2), (2, 6, 3))
"""Of lightning (GHSA-w37p-236h-pfx3): importing them runs a credential stealer, lightning/_runtime/start.py."""
FLOORS = {
    "lightning": ((2, 6, 6), "releases before it run code that a checkpoint names (CVE-2026-58659)"),
    "torch": ((2, 10), "releases before it corrupt memory on a crafted file of weights (CVE-2026-24747)"),
    "mlflow": ((3, 11, 1), "releases before it let a server's users read and overwrite others' files (CVE-2026-2614)"),
}


def check_versions() -> None:
    """RecipeError if a package is installed that must not be imported. Reads metadata only, and imports nothing."""
    for name, (floor, why) in FLOORS.items():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # the import will fail with its own message
        install = f"pip install '{name}>={_text(floor)}'"
        if name == "lightning" and (_release(found.version) in MALICIOUS or _carries_its_payload(found)):
            raise RecipeError(
                f"versions: {name} {found.version} is installed, a malicious release that steals credentials when it "
                "is imported (GHSA-w37p-236h-pfx3); it was not imported now. Change every credential of this machine "
                f"if it ever was, and run: {install}"
            )
        if _release(found.version) < floor:
            raise RecipeError(
                f"versions: {name} {found.version} is installed, {_text(floor)} is needed: {why}. Run: {install}"
            )


def _carries_its_payload(found: Distribution) -> bool:
    return Path(str(found.locate_file("lightning/_runtime"))).is_dir()


def _release(version: str) -> tuple[int, ...]:
    """The numbers before any suffix, without trailing zeros: (2, 10) for 2.10.0+cu128; () if there are none."""
    match = re.match(r"\d+(\.\d+)*", version or "")
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _text(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
