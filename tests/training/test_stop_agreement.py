"""All processes stop at the same step, one step after the signal; a single process stops at once."""

import multiprocessing
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import CasesOnRanks, _rank

from talkies.config import Interruption
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE, world_of
from talkies.signals.answer import check_signal, listening
from talkies.training.stop_agreement import BROKEN, StopAgreement

pytestmark = pytest.mark.timeout(600)
Sent = dict[tuple[int, int], signal.Signals]
"""(rank, step) -> the signal that the rank gets in the middle of the step."""
LAST = 8


def steps(sent: Sent, at: int | None, failed: tuple[int, int] | None = None) -> dict[str, Any]:
    """Make empty steps until the stop or the last one; return the last step, the cause, and what was left pending."""
    world = world_of() if dist.is_initialized() else ALONE
    outer = ExitStack()
    outer.enter_context(listening())
    agreement = StopAgreement(Ranks(world), at)
    agreement.listen()
    step, stopped = 0, False
    while not stopped and step < LAST:
        step += 1
        if (world.rank, step) in sent:
            os.kill(os.getpid(), sent[world.rank, step])
        stopped = agreement.stop(step, last=step == LAST, failed=(world.rank, step) == failed)
    cause = agreement.cause(step) if stopped and failed is None else None
    left = agreement._answer is not None
    agreement.finish_pending()
    agreement.release_signals(stopped_by=cause)
    try:
        check_signal()
        unanswered = None
    except Interruption as error:
        unanswered = error.name
    outer.close()
    return {"stopped": stopped, "step": step, "cause": cause, "left": left, "unanswered": unanswered}


TERM, USR1 = signal.SIGTERM, signal.SIGUSR1
CASES: dict[str, tuple[Any, ...]] = {
    "nothing": ({}, None),
    "one rank": ({(1, 3): TERM}, None),
    "the main one": ({(0, 3): TERM}, None),
    "both": ({(0, 3): USR1, (1, 3): USR1}, None),
    "a later one has no say": ({(1, 3): USR1, (0, 4): TERM}, None),
    "an end overrules": ({(1, 3): USR1, (1, 4): TERM}, None),
    "a due stop": ({}, 5),
    "a due stop first": ({(1, 5): TERM}, 5),
    "the last but one": ({(1, LAST - 1): TERM}, None),
    "the last": ({(1, LAST): USR1}, None),
    "a failure": ({}, None, (1, 3)),
}
EXPECTED = {
    "nothing": (False, LAST, None),
    "one rank": (True, 4, "SIGTERM"),
    "the main one": (True, 4, "SIGTERM"),
    "both": (True, 4, "SIGUSR1"),
    "a later one has no say": (True, 4, "SIGUSR1"),
    "an end overrules": (True, 4, "SIGTERM"),
    "a due stop": (True, 5, "--stop-at 5"),
    "a due stop first": (True, 5, "--stop-at 5"),
    "the last but one": (True, LAST, "SIGTERM"),
    "the last": (False, LAST, None),
    "a failure": (True, 4, None),
}


@pytest.fixture(scope="module")
def on_all_ranks(tmp_path_factory: pytest.TempPathFactory) -> CasesOnRanks:
    return CasesOnRanks(tmp_path_factory.mktemp("stopping"), steps, {name: (2, case) for name, case in CASES.items()})


@pytest.mark.ranks
@pytest.mark.parametrize("name", CASES)
def test_all_stop_at_the_same_step(on_all_ranks: CasesOnRanks, name: str) -> None:
    answers = on_all_ranks.answers(name)
    for answer in answers:
        assert (answer["stopped"], answer["step"], answer["cause"]) == EXPECTED[name]
        assert not answer["left"], "no process ends with an exchange pending"
    for rank, answer in enumerate(answers):
        late = "SIGUSR1" if name == "the last" and rank == 1 else None
        assert answer["unanswered"] == late, "a signal that came too late to stop anything stays pending"


@pytest.mark.parametrize(
    ("sent", "at", "expected"),
    [
        ({(0, 3): TERM}, None, (True, 3, "SIGTERM")),
        ({(0, LAST): USR1}, None, (True, LAST, "SIGUSR1")),
        ({(0, 5): TERM}, 4, (True, 4, "--stop-at 4")),
        ({}, None, (False, LAST, None)),
    ],
)
def test_a_single_process_stops_at_once(sent: Sent, at: int | None, expected: tuple[bool, int, str | None]) -> None:
    answer = steps(sent, at)
    assert (answer["stopped"], answer["step"], answer["cause"]) == expected


def asks_and_leaves() -> float:
    """Rank 1 asks and waits; rank 0 dies silently. Returns how long rank 1 waits."""
    world = world_of()
    ranks = Ranks(world)
    if world.rank == 0:
        os._exit(0)
    agreement = StopAgreement(ranks, None)
    agreement.stop(1, last=False)
    began = time.monotonic()
    with pytest.raises(RuntimeError):
        agreement.finish_pending(BROKEN)
    return time.monotonic() - began


@pytest.mark.ranks
def test_no_process_waits_for_a_dead_one(tmp_path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_rank, args=(rank, 2, str(tmp_path), asks_and_leaves, ()))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0, 0]
    assert torch.load(tmp_path / "answer-1.pt", weights_only=True) < 40
