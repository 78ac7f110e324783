"""DeepSpeed's buffer sizes, in elements; a module without torch, because plans import it."""

BUCKET = 200_000_000
"""Elements gathered or reduced at once, in each of two buffers."""
LIVE = 500_000_000
"""The most elements that stage 3 keeps gathered."""
