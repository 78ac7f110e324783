"""Settings by which no codec in closed form can be fitted."""

import pytest

from talkies.codecs.config import CodecConfig, LinearAudioConfig, LinearVideoConfig, SourceFilterConfig, WaveformConfig
from talkies.codecs.fit_limits import fit_problem


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (LinearVideoConfig(channels=6, motion=6), "`motion` is 6, but it must be below `channels`, 6"),
        (LinearVideoConfig(channels=20, motion=1, block=2), "`channels` is 20, 1 of them for `motion`"),
        (LinearAudioConfig(channels=1), "at least 2 channels (loudness and spectrum)"),
        (LinearAudioConfig(hop=641), "an even hop of 16 or more"),
        (LinearAudioConfig(hop=8), "an even hop of 16 or more"),
        (LinearAudioConfig(channels=9, hop=16), "`channels` is 9: at a hop of 16 there are at most 8"),
        (SourceFilterConfig(channels=3), "at least 4 channels (loudness, pitch, periodicity and spectrum)"),
        (SourceFilterConfig(channels=36), "`channels` is 36: at a hop of 640 there are at most 35"),
        (SourceFilterConfig(hop=641), "an even hop of 64 or more"),
        (SourceFilterConfig(hop=32), "an even hop of 64 or more"),
    ],
)
def test_settings_that_make_no_codec_are_a_problem(wrong: CodecConfig, said: str) -> None:
    assert said in (fit_problem(wrong) or "")


@pytest.mark.parametrize(
    "right",
    [
        LinearVideoConfig(channels=6, motion=5),
        LinearAudioConfig(channels=2, hop=16),
        SourceFilterConfig(channels=35, hop=64),
        WaveformConfig(hop=7),
    ],
)
def test_the_least_and_the_most_that_make_a_codec_are_none(right: CodecConfig) -> None:
    assert fit_problem(right) is None
