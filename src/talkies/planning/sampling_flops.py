"""The FLOPs of sampling: what the network computes for a clip."""

from collections.abc import Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from talkies.flow.ladder import needed
from talkies.planning.parameters import skeleton
from talkies.planning.profile import example
from talkies.planning.sampling import SampledPhase
from talkies.streams import Grid
from talkies.streams.batch import Condition


@torch.no_grad()
def sampling_flops(recipe: SampledPhase, grids: Mapping[str, Grid]) -> int:
    """FLOPs (2 per multiply-add) of all evaluations for one clip of streams of `grids`, counted on the network itself,
    on the meta device; codecs are not counted."""
    system, sampling, parts = recipe.system, recipe.sampling, recipe.system.parts(recipe)
    model, ladder = skeleton(system, recipe, parts.components), system.ladder(recipe)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        streams, texts = example(system, recipe, grids, 1)
        condition = Condition(texts=texts, inactive=parts.cycle[0].inactive)
        model(system.network().inputs(recipe, streams), condition)
    rungs = sum(len(needed(ladder, sampling.scales, step, sampling.steps)) for step in range(sampling.steps))
    skips = 0 if sampling.skip_layer is None else sampling.steps
    return int(counter.get_total_flops()) * (rungs + skips)
