"""The release.json of a phase, for tests."""

from typing import Any

LINEAGE = {"spec": "joint", "name": "joint", "step": 100, "sha256": "b1" * 32, "recipe_hash": "b2" * 32, "commit": "c0"}


def info(**changes: Any) -> dict[str, Any]:
    """What a phase writes into release.json besides its files."""
    grid = {"channels": 4, "shape": [2, 2, 2], "rate": "25/2"}
    values: dict[str, Any] = {
        "name": "lora",
        "phase": "joint",
        "step": 100,
        "weights": "ema",
        "recipe": {"codecs": {"video": {"kind": "linear_video"}}},
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
        "shape": {"video": {}, "audio": {}, "bridge": {}},
        "survival": {"skipped_steps": [], "passed_batches": []},
        "quarantined": {"clips": 0, "sha256": None},
        "parents": {},
    }
    return {**values, **changes}
