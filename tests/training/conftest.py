"""Fixtures of tiny_phase for every test of this folder."""

from tiny_phase import build, shards

__all__ = ["build", "shards"]
