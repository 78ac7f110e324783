"""Settings by which no codec in closed form can be fitted."""

import pytest

from talkies.codecs.config import CodecConfig, LinearAudioConfig, LinearVideoConfig, SourceFilterConfig, WaveformConfig
from talkies.codecs.fittable import check_fittable
from talkies.config import RecipeError


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (LinearVideoConfig(channels=6, motion=6), r"motion` is 6: it must be below `codecs\.mine\.channels`, 6"),
        (LinearVideoConfig(stride=43, block=8), r"` has blocks of 3 x 43 .*= 8256 values, and at most 8192"),
        (
            LinearVideoConfig(channels=13, motion=0, block=2),
            r"channels` is 13, 0 of .* 12 for what stands still",
        ),
        (LinearVideoConfig(channels=26, motion=13, block=2, stride=2), r"channels` is 26, 13 of .*, and 12 for motion"),
        (LinearAudioConfig(channels=1), r"channels` is 1: a linear_audio codec needs 2 or more, for loudness and"),
        (LinearAudioConfig(hop=641), r"hop` is 641: a linear_audio codec needs an even number, 16 or more"),
        (LinearAudioConfig(hop=8), r"hop` is 8: a linear_audio codec needs an even number, 16 or more"),
        (LinearAudioConfig(channels=9, hop=16), r"channels` is 9: at a hop of 16 a linear_audio codec has at most 8"),
        (SourceFilterConfig(channels=3), r"channels` is 3: a source_filter codec needs 4 or more, for loudness, pitch"),
        (SourceFilterConfig(hop=641), r"hop` is 641: a source_filter codec needs an even number, 64 or more"),
        (SourceFilterConfig(hop=32), r"hop` is 32: a source_filter codec needs an even number, 64 or more"),
        (SourceFilterConfig(channels=36), r"channels` is 36: at a hop of 640 a source_filter codec has at most 35"),
    ],
)
def test_settings_that_make_no_codec_are_refused(wrong: CodecConfig, said: str) -> None:
    with pytest.raises(RecipeError, match=rf"^recipe: `codecs\.mine[`.]*{said}"):
        check_fittable("codecs.mine", wrong)


@pytest.mark.parametrize(
    "right",
    [
        LinearVideoConfig(channels=6, motion=5),
        LinearAudioConfig(channels=2, hop=16),
        SourceFilterConfig(channels=4, hop=64),
        LinearVideoConfig(channels=24, motion=12, block=2, stride=2),
        LinearAudioConfig(channels=8, hop=16),
        SourceFilterConfig(channels=35),
        WaveformConfig(hop=7),
    ],
)
def test_the_least_and_the_most_that_make_a_codec_are_taken(right: CodecConfig) -> None:
    check_fittable("codecs.mine", right)
