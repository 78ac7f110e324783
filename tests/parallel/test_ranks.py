"""Processes of a group: how long they wait for one that does not join, and for one that works."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from ranks import on_ranks

import talkies.parallel.ranks as module
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import World

pytestmark = [pytest.mark.ranks, pytest.mark.timeout(600)]
MEETING_S, WORK_S = 3.0, 5.0


def mine(size: int) -> World:
    return World(rank=dist.get_rank(), size=size, local=dist.get_rank())


def works_long() -> list[str]:
    module.MEETING = timedelta(seconds=MEETING_S)
    ranks = Ranks(mine(2))
    return [ranks.first(lambda: time.sleep(WORK_S) or "prepared")]


def does_not_join() -> str:
    module.MEETING = timedelta(seconds=MEETING_S)
    if dist.get_rank() == 1:
        time.sleep(5 * WORK_S)
        return "late"
    began = time.monotonic()
    with pytest.raises(RuntimeError):
        Ranks(mine(2))
    assert time.monotonic() - began < 4 * WORK_S
    return "gave up"


def test_a_group_waits_longer_for_work_than_for_a_process_to_join(tmp_path: Path) -> None:
    assert on_ranks(tmp_path, 2, works_long) == [["prepared"], ["prepared"]]
    assert on_ranks(tmp_path, 2, does_not_join) == ["gave up", "late"]
