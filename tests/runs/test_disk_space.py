"""Disk space for checkpoints is checked before a run begins, on real file systems."""

import os
import subprocess
import timeit
from collections.abc import Callable
from pathlib import Path

import pytest

from talkies.config import StorageError
from talkies.config.source import load
from talkies.models.systems import SYSTEMS
from talkies.recipe.config import PhaseRecipe, decode_phase
from talkies.runs.disk_space import check_disk_space, checkpoints_to_come

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy" / "joint_phase1.yaml"
Disk = Callable[[str], Path]


def recipe(*changed: str) -> PhaseRecipe:
    fixed = [] if changed and changed[0].startswith("steps.max") else ["steps.max=100", "steps.checkpoint_every=10"]
    return decode_phase(load(TOY, [*fixed, *changed]), SYSTEMS)


def test_a_disk_that_is_too_small_is_reported_before_anything_is_written(file_system: Callable[[str], Path]) -> None:
    """The toy's checkpoint takes 22.7 MB: four of them, and a release of 5.7 MB."""
    folder = file_system("size=90m")
    with pytest.raises(StorageError) as error:
        check_disk_space(recipe(), folder)
    assert error.value.exit_code == 74
    needed = 1_419_656 * 4 * (4 * 4 + 1)
    assert str(error.value).startswith(
        f"storage: {folder} has {90 << 20} bytes free (90.0 MiB), {needed} are needed (92.1 MiB): 4 checkpoints of "
        "21.7 MiB beside those there (`steps.keep` 2, the best, and one while it is written) and a release of 5.4 MiB."
    )
    assert list(folder.iterdir()) == []
    check_disk_space(recipe("steps.keep=1"), folder)
    check_disk_space(recipe(), file_system("size=95m"))


def test_a_full_or_read_only_disk_is_reported(file_system: Callable[[str], Path]) -> None:
    full = file_system("size=1m")
    (full / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(StorageError, match=r"No space left on device; \d+ bytes are needed, 0 are free"):
        check_disk_space(recipe(), full)
    assert os.listdir(full) == ["filler"]  # noqa: PTH208
    frozen = file_system("size=200m")
    subprocess.run(["mount", "-o", "remount,ro", str(frozen)], check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        check_disk_space(recipe(), frozen)


def test_the_probe_takes_little_time(tmp_path: Path) -> None:
    """The fastest of ten, since the machine may be busy."""
    taken = timeit.repeat(lambda: check_disk_space(recipe(), tmp_path), number=1, repeat=10)
    assert min(taken) < 0.5, "0.05 s on an idle machine"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], 4),
        ([10], 3),
        ([10, 20], 2),
        ([10, 80, 90], 1),  # the last one
        ([10, 20, 30, 40], 0),
        ([90, 100], 0),  # only the release is left
    ],
)
def test_existing_checkpoints_need_no_further_space(steps: list[int], expected: int) -> None:
    assert checkpoints_to_come(recipe(), steps) == expected


@pytest.mark.parametrize(("last", "every", "expected"), [(10, 10, 1), (9, 10, 1), (11, 10, 2), (1000, 10, 4)])
def test_a_short_run_needs_space_for_what_it_writes(last: int, every: int, expected: int) -> None:
    assert checkpoints_to_come(recipe(f"steps.max={last}", f"steps.checkpoint_every={every}"), []) == expected


def test_a_run_with_rollback_needs_space_for_the_checkpoints_that_it_goes_back_to() -> None:
    assert checkpoints_to_come(recipe("survival.non_finite=rollback"), []) == 6
