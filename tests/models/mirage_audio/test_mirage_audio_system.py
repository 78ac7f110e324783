"""Mirage audio's phases, streams and guidance, and what its sections must not contradict."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from talkies.codecs.config import ByteTextConfig, LogMelConfig, SourceFilterConfig, WaveformConfig
from talkies.config import RecipeError
from talkies.flow.degradation_config import DegradationConfig
from talkies.models.mirage_audio.config import MirageAudioConfig
from talkies.models.mirage_audio.phases import CloningConfig, DesignConfig
from talkies.models.mirage_audio.system import MIRAGE_AUDIO
from talkies.streams import Grid
from talkies.streams.system import Stored

CODECS = {"sound": SourceFilterConfig(), "voice": WaveformConfig(), "text": ByteTextConfig()}
DEGRADED = CloningConfig(degraded=0.3)


def setup(phase: Any, *, codecs: Any = None, **model: Any) -> SimpleNamespace:
    config = MirageAudioConfig(preset="tiny", **model)
    return SimpleNamespace(model=config, phase=phase, codecs=CODECS if codecs is None else codecs)


def test_design_reads_texts_alone_and_cloning_a_reference() -> None:
    design, cloning = (MIRAGE_AUDIO.parts(setup(phase)) for phase in (DesignConfig(), CloningConfig()))
    assert (design.targets, design.streams, design.texts) == ({"sound": 1.0}, ("sound",), {"text"})
    assert cloning.streams == cloning.read == ("sound", "reference")
    assert design.components == cloning.components == {"sound", "text"}
    assert (design.dropout, cloning.dropout) == ({"text": 0.1}, {"text": 0.1, "reference": 0.1, "all": 0.1})


def test_a_share_of_the_references_is_degraded_from_the_sound_that_is_stored() -> None:
    parts = MIRAGE_AUDIO.parts(setup(DEGRADED))
    assert (parts.degraded["reference"].source, parts.degraded["reference"].share) == ("voice", 0.3)
    assert (parts.streams, parts.read) == (("sound", "reference"), ("sound", "reference", "voice"))
    assert MIRAGE_AUDIO.parts(setup(CloningConfig())).degraded == {}


def test_two_texts_have_components_codecs_and_dropout_of_their_own() -> None:
    codecs = {"sound": CODECS["sound"], "script": ByteTextConfig(), "description": ByteTextConfig()}
    made = setup(CloningConfig(), codecs=codecs, texts="apart")
    parts = MIRAGE_AUDIO.parts(made)
    assert parts.texts == {"script", "description"} == parts.components - {"sound"}
    assert parts.dropout == {"script": 0.1, "description": 0.1, "reference": 0.1, "all": 0.1}
    assert MIRAGE_AUDIO.texts(codecs) == {"script": "script", "description": "description"}
    MIRAGE_AUDIO.check(made, {})


def test_both_forms_of_a_reference_are_stored_of_one_passage() -> None:
    assert MIRAGE_AUDIO.stored(CODECS) == {
        "sound": Stored(codec="sound"),
        "reference": Stored(codec="sound", of="passage"),
        "voice": Stored(codec="voice", of="passage"),
    }


def test_the_ladder_ends_with_the_texts_for_the_voice_that_is_given() -> None:
    assert [(set(rung.without), rung.scale) for rung in MIRAGE_AUDIO.ladder(setup(CloningConfig()))] == [
        ({"text", "reference"}, None),
        ({"text"}, "reference"),
        (set(), "text"),
    ]
    assert [(set(rung.without), rung.scale) for rung in MIRAGE_AUDIO.ladder(setup(DesignConfig()))] == [
        ({"text"}, None),
        (set(), "text"),
    ]


def test_a_token_is_a_latent_step() -> None:
    grid = Grid(channels=12, shape=(50,), rate=Fraction(25))
    grids = {"sound": grid, "reference": replace(grid, shape=(30,))}
    assert MIRAGE_AUDIO.tokens(setup(CloningConfig()), grids) == {"sound": 50, "reference": 30}


@pytest.mark.parametrize("phase", [DesignConfig(), CloningConfig(), DEGRADED])
def test_sections_that_agree_are_taken(phase: Any) -> None:
    MIRAGE_AUDIO.check(setup(phase), {"text": 3.0})


@pytest.mark.parametrize(
    ("phase", "codecs", "scales", "said"),
    [
        (DesignConfig(), {"text": None}, {}, r"`codecs\.text` is missing: design phases need it"),
        (DEGRADED, {"voice": None}, {}, r"`codecs\.voice` is missing: `phase\.degraded` needs it"),
        (DEGRADED, {"voice": LogMelConfig()}, {}, r"`codecs\.voice` is of the kind log_mel: .* by the kind waveform"),
        (DEGRADED, {"voice": WaveformConfig(sample_rate=8000)}, {}, "is 8000, .* is 16000: they must be equal"),
        (DesignConfig(), {"sound": SourceFilterConfig(channels=13)}, {}, "is 13, .*takes 12; set `model.sound_feat"),
        (DesignConfig(), {"text": ByteTextConfig(dim=65)}, {}, "is 65, .*takes 64; set `model.text_features`"),
        (DesignConfig(), {}, {"reference": 2.0}, "`sampling.scales.reference` needs a reference, which design phases"),
        (
            CloningConfig(degradation=DegradationConfig(noise=1.0)),
            {},
            {},
            "`phase.degradation` is set, but `phase.degraded` is 0",
        ),
        (
            replace(DEGRADED, degradation=DegradationConfig(cutoff_hz=(1000.0, 9000.0))),
            {},
            {},
            "`phase.degradation.cutoff_hz` ends at 9000 Hz",
        ),
    ],
)
def test_sections_that_disagree_are_refused(phase: Any, codecs: Any, scales: dict[str, float], said: str) -> None:
    made = setup(phase, codecs={name: one for name, one in {**CODECS, **codecs}.items() if one is not None})
    with pytest.raises(RecipeError, match=f"^recipe: .*{said}"):
        MIRAGE_AUDIO.check(made, scales)
