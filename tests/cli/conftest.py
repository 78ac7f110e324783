"""The fixture of toy_journey for every test of this folder."""

from toy_journey import journey

__all__ = ["journey"]
