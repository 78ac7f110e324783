"""A clock that moves only when a test moves it."""


class Clock:
    """Replaces a module's `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        """Seconds since the clock was made."""
        return self.now
