"""The fixture `store` of small_store, for every test of this folder."""

from small_store import store

__all__ = ["store"]
