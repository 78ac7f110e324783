"""The release.json of a phase, for tests."""

from typing import Any


def info(**changes: Any) -> dict[str, Any]:
    """What a phase writes into release.json besides its files."""
    grid = {"shape": [2, 2, 2]}
    values: dict[str, Any] = {
        "name": "lora",
        "phase": "joint",
        "step": 100,
        "weights": "ema",
        "recipe_hash": "a1" * 32,
        "commit": "c0ffee" * 6,
        "data": {
            "shards": "masks",
            "clips": 96,
            "fingerprint": "f1" * 32,
            "heldout_fingerprint": "f2" * 32,
            "geometry": "64x64x25@12",
            "fps": 12.0,
            "grids": {"video": grid, "audio": grid},
        },
        "codecs": {"video": "d1" * 32, "audio": "d2" * 32, "text": "d3" * 32},
        "parents": {},
    }
    return {**values, **changes}
