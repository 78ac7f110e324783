"""Recipe keys of Mirage audio's phases. Nothing is published of how it was trained: all of this is our choice."""

from typing import Annotated, Literal

from pydantic import Field

from talkies.config import config
from talkies.config.numbers import Share
from talkies.flow.degradation_config import DegradationConfig


@config
class DesignConfig:
    """A sound from text: general sound first, then speech, whose script is said by a voice as described."""

    kind: Literal["design"] = "design"
    text_dropout: Share = 0.1


@config
class CloningConfig:
    """Speech by the voice of a reference, another part of the same recording. For a share `degraded` of the samples it
    is degraded first, while the text describes the recording as it is: so a reference can be tuned. `all_dropout` drops
    text and reference together."""

    kind: Literal["cloning"] = "cloning"
    text_dropout: Share = 0.1
    reference_dropout: Share = 0.1
    all_dropout: Share = 0.1
    degraded: Share = 0.0
    degradation: DegradationConfig = DegradationConfig()


MirageAudioPhase = Annotated[DesignConfig | CloningConfig, Field(discriminator="kind")]
