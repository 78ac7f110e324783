"""Heartbeats say which of many ranks is behind."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from talkies.resilience.heartbeat import ENDED, Beat, behind, describe_hang, path_of, pulse, read_beats, write_beat


def beat(rank: int, moves: int, phase: str = "validation", *, silent_s: float = 0.0, attempt: str = "b") -> Beat:
    written = time.time() - silent_s
    return Beat(rank=rank, attempt=attempt, phase=phase, step=6, moves=moves, seconds=30, written=written, pid=1)


def test_the_one_with_the_fewest_moves_is_behind() -> None:
    beats = [beat(0, 9), beat(1, 7, "loading data"), beat(2, 9), beat(3, 1, ENDED)]
    assert [found.rank for found in behind(beats)] == [1]
    text = describe_hang(beats, 4, 10)
    assert text.startswith("rank 1 of 4 has been in loading data after step 6 for 30 s; the others wait, rank 0 in ")


def test_ranks_that_are_equally_far_are_all_named() -> None:
    text = describe_hang([beat(rank, 7) for rank in range(20)], 20, 10)
    assert text.startswith("ranks 0, 1, 2, 3, 4, 5, 6, 7 ... of 20 have been in validation after step 6 for 30 s")
    assert "no rank is further" in text


def test_a_rank_without_a_heartbeat_is_named_as_silent() -> None:
    beats = [beat(0, 9), beat(1, 7, silent_s=100)]
    end = "for 130 s, as far as is known (no heartbeat for 100 s: stopped, or it holds Python's lock)"
    assert end in describe_hang(beats, 2, 10)


def test_one_process_alone() -> None:
    assert describe_hang([beat(0, 1)], 1, 10) == "the process has been in validation after step 6 for 30 s"


def test_only_the_newest_attempt_counts_and_damaged_files_do_not(tmp_path: Path) -> None:
    for found in (beat(0, 1), beat(1, 2), beat(2, 0, attempt="a")):
        write_beat(tmp_path, found)
    path_of(tmp_path, 3).write_text('{"rank": 3')
    assert [found.rank for found in read_beats(tmp_path)] == [0, 1]
    assert [found.rank for found in read_beats(tmp_path, "a")] == [2]


@pytest.mark.parametrize(("moves", "end"), [((1, 2), ", rank 0 is behind"), ((2, 2), "")])
def test_a_pulse_is_one_short_line(tmp_path: Path, moves: tuple[int, int], end: str) -> None:
    assert pulse(tmp_path) is None
    for rank, count in enumerate(moves):
        write_beat(tmp_path, beat(rank, count, silent_s=5))
    assert pulse(tmp_path) == f"last heartbeat 5 s ago: validation after step 6 for 30 s{end}"


def test_a_full_disk_leaves_no_temporary_file(file_system: Callable[[str], Path]) -> None:
    disk = file_system("size=64k")
    write_beat(disk, beat(0, 1))
    with suppress(OSError):
        (disk / "filling").write_bytes(bytes(1 << 20))
    with pytest.raises(OSError, match="No space left"):
        write_beat(disk, beat(1, 1))
    assert sorted(path.name for path in (disk / "heartbeats").iterdir()) == ["rank-0.json"]
