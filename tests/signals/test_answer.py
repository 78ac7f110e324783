"""Within another program the handlers of `talkies` are installed only for a block."""

import signal
import threading
import time

import pytest

from talkies.config import Interruption
from talkies.signals.answer import check_signal, claimed, listening, pause, signal_name, until
from talkies.signals.flag import ENDING


def test_the_old_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with listening(), listening():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption, match=r"^interrupted by SIGTERM$"):
            pause(60)
    assert [signal.getsignal(number) for number in ENDING] == before
    assert signal_name() is None
    check_signal()


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell ignores SIGINT for processes in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening():
            signal.raise_signal(signal.SIGINT)
            check_signal()
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_the_main_thread_is_interrupted() -> None:
    """The thread that writes checkpoints hashes files, and `check_signal`s meanwhile."""
    seen: list[str] = []
    with listening():
        signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=lambda: (check_signal(), seen.append("went on")))
        thread.start()
        thread.join()
        with pytest.raises(Interruption):
            check_signal()
    assert seen == ["went on"]


def test_claiming_reinstalls_handlers_that_a_library_has_replaced() -> None:
    with listening():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with claimed():
            signal.raise_signal(signal.SIGTERM)
            check_signal()
            assert signal_name() == "SIGTERM"
        with pytest.raises(Interruption):
            check_signal()


def test_a_wait_ends_with_its_condition_its_time_or_a_signal() -> None:
    with listening():
        assert until(lambda: True, 60)
        assert not until(lambda: False, 0.1)
        signal.raise_signal(signal.SIGTERM)
        began = time.monotonic()
        assert not until(lambda: False, 60)
        assert time.monotonic() - began < 50
