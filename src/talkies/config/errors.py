"""Errors that a user can cause. Every message says what was found, where, what is allowed and what to do."""

from talkies.signals.flag import Interruption

__all__ = [
    "HUNG",
    "CheckpointError",
    "DataError",
    "GateError",
    "Interruption",
    "RecipeError",
    "StorageError",
    "TrackingError",
    "UserError",
]
HUNG = 71
"""The exit code of a process that its watchdog has ended."""


class UserError(ValueError):
    """A mistake that a message can explain; the CLI prints it on one line and exits with `exit_code`."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, an override or a command line that cannot be used."""


class DataError(UserError):
    """Media, shards or codecs that cannot be used."""

    exit_code = 65


class CheckpointError(UserError):
    """A checkpoint, a parent or a release that is missing, damaged or of another architecture."""

    exit_code = 65


class StorageError(UserError):
    """The disk is full or read-only."""

    exit_code = 74


class TrackingError(UserError):
    """The tracking server or the registry refused, or could not be reached."""

    exit_code = 69


class GateError(UserError):
    """A promotion that its gates or the expected-current check refused."""

    exit_code = 3
