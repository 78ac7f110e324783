"""What conditions cost that a step degrades and encodes anew: the codec is on the device, and takes its time."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from talkies.codecs.network_sizes import network_bytes, sound_codec
from talkies.flow.degradation import degraded
from talkies.planning.meter import Meter
from talkies.planning.work import FP32, Beside
from talkies.streams import Grid
from talkies.streams.system import Degraded, Setup, System


def degrading(system: System, setup: Setup, grids: Mapping[str, Grid]) -> Beside:
    """Of all conditions that the phase degrades, encoded one sound after another."""
    stored, found = system.stored(setup.codecs), Beside()
    for name, one in system.parts(setup).degraded.items():
        section = setup.codecs[stored[name].codec]
        own = _of_one(section, grids[name], one)
        found = Beside(
            weights=found.weights + own.weights,
            sound=found.sound + own.sound,
            working=max(found.working, own.working),
            flops=found.flops + own.flops,
        )
    return found


@torch.no_grad()
def _of_one(section: Any, grid: Grid, one: Degraded) -> Beside:
    count, codec = int(grid.shape[0] * section.sample_rate / grid.rate), sound_codec(section)
    meter = Meter(nn.Module() if codec is None else codec.network)
    meter.passing = "backward"  # in which it follows memory
    everything = replace(one.by, noise=1.0, reverberation=1.0, band=1.0)
    samples = torch.empty(1, count, device="meta")
    with meter.running():
        spoilt = degraded(
            samples, samples > 0, everything, sample_rate=section.sample_rate, seed=0, ids=[""], visits=[0], name=""
        )
        if codec is not None:
            codec.encode(spoilt)
    return Beside(
        weights=network_bytes(section, None),
        sound=FP32 * count,
        working=meter.tally.peak(without=meter.weights),
        flops=round(one.share * meter.tally.total("flops")),
    )
