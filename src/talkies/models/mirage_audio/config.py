"""Recipe keys and presets of Mirage audio's networks. No sizes are published; these are ours."""

from dataclasses import replace
from typing import Literal

from talkies.config import config
from talkies.config.numbers import Positive, Width
from talkies.models.mochi.config import JointShape, ModalityShape

SOUND = "sound"
TEXTS: dict[str, tuple[str, ...]] = {"joined": ("text",), "apart": ("script", "description")}
"""`model.texts` -> the texts that the network reads, each with layers of its own."""


@config
class MirageAudioConfig:
    """`sound_features` of the sound codec and `text_features` of the text encoders: None takes the preset's.

    What is published leaves open: `texts`, whether script and description are one text, by a template, or two with
    layers of their own; `text_positions`, whether texts have rotary tables (without them the order of words is known
    from the encoder alone); `reference_time`, whether the reference is modulated by its own noise level, 0, or the
    sound's. `characters_per_second`: letters and digits of a script that are said in a second, by which a sound's
    duration is chosen if none is asked for (None: it is as long as the clips of the recipe).
    `fastest_characters_per_second`: as many as can be said at most; a script that would have to be said faster is
    refused (None: none is).
    """

    kind: Literal["mirage_audio"] = "mirage_audio"
    preset: Literal["1b", "0.3b", "tiny"]
    sound_features: Width | None = None
    text_features: Width | None = None
    texts: Literal["joined", "apart"] = "joined"
    text_positions: Literal["none", "learned"] = "learned"
    reference_time: Literal["clean", "shared"] = "clean"
    characters_per_second: Positive | None = 12.0
    fastest_characters_per_second: Positive | None = 25.0

    @property
    def shape(self) -> JointShape:
        """The preset's numbers, with the keys above."""
        preset = PRESETS[self.preset]
        sound, text = preset.modalities[SOUND], preset.modalities["text"]
        text = replace(text, channels=self.text_features or text.channels)
        names = TEXTS[self.texts]
        return replace(
            preset,
            modalities={
                SOUND: replace(sound, channels=self.sound_features or sound.channels),
                **dict.fromkeys(names, text),
            },
            texts=names,
            text_positions=self.text_positions,
            reference_time=self.reference_time,
        )


def _preset(layers: int, heads: int, head_dim: int, channels: int, text: int) -> JointShape:
    """The sound's tokens are as wide as all heads, the text's half as wide, as Mochi's are."""
    width = heads * head_dim
    return JointShape(
        layers=layers,
        heads=heads,
        head_dim=head_dim,
        target=SOUND,
        patch=(1,),
        modalities={
            SOUND: ModalityShape(width=width, channels=channels),
            "text": ModalityShape(width=width // 2, channels=text),
        },
    )


PRESETS: dict[str, JointShape] = {
    "1b": _preset(layers=24, heads=12, head_dim=128, channels=64, text=1536),
    "0.3b": _preset(layers=16, heads=8, head_dim=128, channels=64, text=1472),
    "tiny": replace(
        _preset(layers=4, heads=3, head_dim=32, channels=12, text=64), multiple=32, freq_dim=64, pool_heads=4
    ),
}
