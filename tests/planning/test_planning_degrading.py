"""What degraded references add to the plan of a step: the codec's weights, a sound in it, and its time."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from talkies.codecs.config import ByteTextConfig, LinearAudioConfig, MovaAudioConfig, OobleckAudioConfig, WaveformConfig
from talkies.codecs.network_sizes import RELEASED
from talkies.models.mirage_audio.config import MirageAudioConfig
from talkies.models.mirage_audio.phases import CloningConfig
from talkies.models.mirage_audio.system import MIRAGE_AUDIO
from talkies.parallel.config import DdpConfig, DeepspeedConfig, Layout
from talkies.planning.activations import Activations
from talkies.planning.cost import H100_FLOPS, H100_FP32, Compute
from talkies.planning.degrading import degrading
from talkies.planning.profile import Profile
from talkies.planning.speed import Rate, speed
from talkies.planning.work import Beside, Work
from talkies.planning.zero import rank_memory
from talkies.streams import Grid

STEPS = 50
WORK = Work(tokens={}, bf16=True, clips=16, accumulate=2, layout=DdpConfig(), checkpointing=False)


def beside(share: float, sound: Any) -> Beside:
    codecs = {"sound": sound, "voice": WaveformConfig(sample_rate=sound.sample_rate), "text": ByteTextConfig()}
    setup = SimpleNamespace(model=MirageAudioConfig(preset="tiny"), phase=CloningConfig(degraded=share), codecs=codecs)
    grid = Grid(channels=sound.channels, shape=(STEPS,), rate=Fraction(sound.sample_rate, sound.hop))
    return degrading(MIRAGE_AUDIO, setup, {"sound": grid, "reference": grid})


@pytest.fixture(scope="module")
def half() -> Beside:
    return beside(0.5, MovaAudioConfig())


def test_nothing_is_added_if_nothing_is_degraded() -> None:
    assert beside(0.0, MovaAudioConfig()) == Beside()


def test_the_codec_is_counted_once_and_its_time_by_the_share(half: Beside) -> None:
    whole = beside(1.0, MovaAudioConfig())
    assert half.weights == RELEASED["mova_dac"]
    assert half.sound == 4 * STEPS * 960
    assert replace(whole, flops=half.flops) == half
    assert whole.flops == pytest.approx(2 * half.flops)
    samples = STEPS * 960
    assert whole.flops > samples * 2 * 128 * 128 * 8 * 3, "the three residual units at the sound's own rate"
    assert half.working > 2 * 4 * 128 * samples, "the input and the output of one of their layers"


def test_a_codec_without_a_network_takes_the_memory_of_a_sound() -> None:
    found, samples = beside(1.0, LinearAudioConfig()), STEPS * 1280
    assert (found.weights, found.sound, found.flops) == (0, 4 * samples, 0)
    assert 4 * 4 * samples < found.working < 100 * 4 * samples


@pytest.mark.parametrize("layout", [DdpConfig(), DeepspeedConfig(shard=2, stage=2)])
def test_memory_has_the_codecs_and_the_sounds_and_the_larger_of_what_is_passing(layout: Layout, half: Beside) -> None:
    plain = replace(WORK, layout=layout)
    more = replace(plain, beside=half)
    for kept in (0, 10**12):
        activations = Activations(inputs=kept)
        with_codec, without = (rank_memory((), work, activations) for work in (more, plain))
        held = half.weights + more.micro * half.sound
        assert with_codec.beside == held
        assert with_codec.total - without.total == held + (half.working if not kept else 0)


def test_encoding_takes_the_time_of_fp32(half: Beside) -> None:
    nothing = Profile(components=(), pieces=(), rest={}, inputs=0, kept_inputs=0, ends=0, exchanging={})
    found = speed(replace(WORK, beside=half), nothing, Compute(forward={}, useful=0, with_recompute=0), Rate())
    assert found.flops == 16 * half.flops
    assert found.seconds == pytest.approx(16 * half.flops * H100_FLOPS / H100_FP32 / Rate().sustained)


def test_oobleck_is_counted_as_released() -> None:
    """10 s at 44.1 kHz: about a TFLOP, and a GiB while it is encoded."""
    found = beside(1.0, OobleckAudioConfig())
    assert found.weights == RELEASED["oobleck"]
    assert found.sound == 4 * STEPS * 2048
    per_second = found.flops / (STEPS * 2048 / 44100)
    assert 0.5e11 < per_second < 2e11
    assert found.working > 2 * 4 * 128 * STEPS * 2048
