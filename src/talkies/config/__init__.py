"""Strict recipe decoding and the errors that a user can cause."""

from talkies.config.errors import (
    CheckpointError,
    DataError,
    GateError,
    Interruption,
    RecipeError,
    StorageError,
    TrackingError,
    UserError,
)
from talkies.config.schema import config

__all__ = [
    "CheckpointError",
    "DataError",
    "GateError",
    "Interruption",
    "RecipeError",
    "StorageError",
    "TrackingError",
    "UserError",
    "config",
]
