"""A degraded condition has the steps of the stored one, whatever the codecs, and is the same in every batch."""

import warnings
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from talkies.codecs.config import LogMelConfig, WaveformConfig
from talkies.codecs.log_mel import LogMelEncoder
from talkies.codecs.waveform import WaveformCodec
from talkies.flow.degradation_config import DegradationConfig
from talkies.streams import Grid
from talkies.streams.batch import Batch, Stream
from talkies.streams.codec import AudioEncoder
from talkies.streams.system import Degraded, Parts
from talkies.training.degrading import Degrading, Ear

RATE, SAMPLES = 16000, 9000
ONE = Degraded(source="voice", share=1.0, by=DegradationConfig())
PARTS = Parts(components=frozenset(), targets={}, conditions=frozenset({"reference"}), degraded={"reference": ONE})


@pytest.fixture(params=["features", "autoencoder"])
def codec(request: pytest.FixtureRequest) -> Iterator[AudioEncoder]:
    """One that only encodes, and diffusers' convolutional one."""
    if request.param == "features":
        yield LogMelEncoder(LogMelConfig(channels=8, hop=640))
        return
    oobleck = pytest.importorskip("talkies.codecs.oobleck")
    from talkies.codecs import config

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)  # weight norm in torch's older way
        torch.manual_seed(0)
        network = oobleck.AutoencoderOobleck(
            encoder_hidden_size=8, decoder_input_channels=4, decoder_channels=8, downsampling_ratios=[2, 4, 4],
            channel_multiples=[1, 2, 4], audio_channels=1, sampling_rate=RATE,
        )  # fmt: skip
    fitted = {"mean": torch.zeros(4), "std": torch.ones(4), "network": torch.zeros(32, dtype=torch.uint8)}
    sizes = config.OobleckAudioConfig(channels=4, hop=32, sample_rate=RATE)  # type: ignore[attr-defined]
    yield oobleck.OobleckAudioCodec(sizes, network.eval(), fitted)


def batch(codec: AudioEncoder, hop: int, *rows: int) -> Batch:
    """Voices of which every second one is half as long; the samples are stored in steps of `hop`."""
    sound = WaveformCodec(WaveformConfig(hop=hop))
    voices = torch.stack([_voice(row) for row in rows])
    lengths = [SAMPLES // (1 + row % 2) for row in rows]

    def stream(made: Tensor, grid: Grid, counts: list[int]) -> Stream:
        mask = torch.arange(grid.shape[0])[None] < torch.tensor(counts)[:, None]
        start = torch.full((len(rows),), -3.0)
        return Stream(latent=made, time=torch.zeros(len(rows)), grid=grid, role="reference", mask=mask, start=start)

    def steps(one: AudioEncoder) -> list[int]:
        return [one.grid(length).shape[0] for length in lengths]

    return Batch(
        ids=tuple(f"clip-{row}" for row in rows), visits=rows, captions={}, texts={}, null_texts={},
        streams={
            "reference": stream(codec.encode(voices), codec.grid(SAMPLES), steps(codec)),
            "voice": stream(sound.encode(voices), sound.grid(SAMPLES), steps(sound)),
        },
    )  # fmt: skip


def _voice(row: int) -> Tensor:
    clock = torch.arange(SAMPLES) / RATE
    whole = 0.4 * torch.sin(2 * torch.pi * (150 + 20 * row) * clock)
    return whole * (torch.arange(SAMPLES) < SAMPLES // (1 + row % 2))


def degrading(codec: AudioEncoder, hop: int) -> Degrading:
    ear = Ear(source=WaveformCodec(WaveformConfig(hop=hop)), codec=codec)
    return Degrading(PARTS, lambda _: {"reference": ear}, seed=1)


@pytest.mark.parametrize("hop", [640, 1000, 17])
def test_steps_mask_and_place_stay(codec: AudioEncoder, hop: int) -> None:
    given = batch(codec, hop, 0, 1, 2)
    before, after = given.streams["reference"], degrading(codec, hop)(given).streams["reference"]
    assert after.latent.shape == before.latent.shape
    assert after.mask is before.mask
    assert after.start is before.start
    assert not torch.equal(after.latent, before.latent)
    assert Fraction(before.grid.rate) == Fraction(RATE, codec.config.hop)  # type: ignore[attr-defined]


def test_steps_of_the_samples_do_not_matter(codec: AudioEncoder) -> None:
    """Where the sound is: in how many steps it is stored decides how far its last one reaches."""
    found = [degrading(codec, hop)(batch(codec, hop, 0, 2)).streams["reference"].latent for hop in (500, 1000, 1500)]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_a_batch_changes_nothing(codec: AudioEncoder) -> None:
    make = degrading(codec, 640)
    whole = make(batch(codec, 640, 0, 1, 2, 3)).streams["reference"].latent
    for rows in ((2,), (3, 0)):
        assert torch.equal(make(batch(codec, 640, *rows)).streams["reference"].latent, whole[list(rows)])
