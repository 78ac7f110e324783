"""Recipe keys of known frames: how often which latent steps of a training clip are clean. Imports no torch."""

from dataclasses import fields

from talkies.config import config
from talkies.config.numbers import Share


@config
class KnownFrames:
    """The shares of samples in which latent steps are known: clean, at noise level 0, and without loss. The other
    samples have none.

    `head`, `tail`, `head_tail`: the first step, the last, both; `quarter_head`, `quarter_tail`, `quarter_head_tail`:
    as many steps there as are drawn from 1 to a quarter of all; `quarter_random`: so many in a row, anywhere;
    `interpolate`: every second step, from the first or the second; `random`: each step on its own, with a chance
    between 0.1 and 0.9 that is drawn for the sample. At least one step is always made.

    MTV (arXiv 2506.08003) names these and their shares alone. Both are those of Open-Sora 1.2 (arXiv 2412.20404), whose
    meaning they have here; Open-Sora draws none for fewer than 8 steps, and we do.
    """

    head: Share = 0.0
    random: Share = 0.0
    tail: Share = 0.0
    head_tail: Share = 0.0
    interpolate: Share = 0.0
    quarter_random: Share = 0.0
    quarter_head: Share = 0.0
    quarter_tail: Share = 0.0
    quarter_head_tail: Share = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """By name, in the order in which they divide the samples."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
