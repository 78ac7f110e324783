"""How much DeepSpeed handles at once, in elements; apart from what needs torch, for the plan."""

BUCKET = 200_000_000
"""Elements that are gathered or reduced at once, in each of two buffers."""
LIVE = 500_000_000
"""Elements that stage 3 keeps gathered at most."""
