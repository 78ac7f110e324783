"""Refuses sound that no recording has: values that are not finite, or far above full scale."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from talkies.media.container import MediaError

LOUDEST = 1e3
"""Times full scale; sound that is louder is damaged, or its samples were read as other numbers."""


def check_values(path: Path | str, values: NDArray[np.floating]) -> None:
    """MediaError for samples, relative to full scale, that a model cannot be given."""
    if not np.isfinite(values).all():
        raise MediaError(path, "its sound has values that are not finite; give another file")
    if values.size and (peak := float(np.abs(values).max())) > LOUDEST:
        raise MediaError(path, f"its sound reaches {peak:.3g} times full scale, so it must be damaged; give another")
