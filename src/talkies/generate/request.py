"""What is asked of a model: one clip to make."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Request:
    """One clip to make: `prompts` by text. `image` [3, H, W] in [-1, 1] becomes its first frame (None: a white one, for
    text only; MOVA, section 5.2), the first latent step of a model that was shown clean ones (None: it makes that, too)
    or the reference of a model that takes one (None: it is left out). `given`: streams that are not made but given, as
    frames [F, 3, H, W] or samples [S] in [-1, 1] of the model's geometry; `latents`: conditions as a shard stores them,
    [C, *shape]; `starts`: seconds by which they begin after the clip. A condition that is not given is left out.
    `negative`: by text, what guidance leads away from, in place of the empty caption. `begins`: the first latent steps
    [C, K, ...] of streams that are made, from which the clip goes on (of the picture, in place of the image). With the
    seed (`seed`, or None: that of all requests), `id` and `window` alone determine the noise. `seconds`: how long a
    sound is made, by a model of sound alone (None: as long as its clips). Of a passage, `given` holds as many samples
    as there are."""

    prompts: Mapping[str, str]
    id: str
    image: Tensor | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    latents: Mapping[str, Tensor] = field(default_factory=dict)
    starts: Mapping[str, float] = field(default_factory=dict)
    negative: Mapping[str, str] = field(default_factory=dict)
    begins: Mapping[str, Tensor] = field(default_factory=dict)
    window: int = 0
    seed: int | None = None
    seconds: float | None = None
