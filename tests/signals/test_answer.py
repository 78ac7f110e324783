"""Within another program the handlers are those of `talkies` for a block alone."""

import signal
import threading
import time

import pytest

from talkies.config import Interruption
from talkies.signals.answer import asked, claimed, listening, look, pause, until
from talkies.signals.flag import ENDING


def test_what_was_there_before_is_there_after() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    with listening(), listening():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption, match=r"^interrupted by SIGTERM$"):
            pause(60)
    assert [signal.getsignal(number) for number in ENDING] == before
    assert asked() is None
    look()


def test_an_ignored_signal_stays_ignored() -> None:
    """As the shell starts what runs in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening():
            signal.raise_signal(signal.SIGINT)
            look()
    finally:
        signal.signal(signal.SIGINT, before)


def test_only_the_main_thread_is_interrupted() -> None:
    """The thread that writes a checkpoint hashes files, and looks there."""
    seen: list[str] = []
    with listening():
        signal.raise_signal(signal.SIGTERM)
        thread = threading.Thread(target=lambda: (look(), seen.append("went on")))
        thread.start()
        thread.join()
        with pytest.raises(Interruption):
            look()
    assert seen == ["went on"]


def test_handlers_that_a_library_has_replaced_are_ours_again_where_signals_are_claimed() -> None:
    with listening():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with claimed():
            signal.raise_signal(signal.SIGTERM)
            look()
            assert asked() == "SIGTERM"
        with pytest.raises(Interruption):
            look()


def test_a_wait_ends_with_what_it_waits_for_its_time_or_a_signal() -> None:
    with listening():
        assert until(lambda: True, 60)
        assert not until(lambda: False, 0.1)
        signal.raise_signal(signal.SIGTERM)
        began = time.monotonic()
        assert not until(lambda: False, 60)
        assert time.monotonic() - began < 50
