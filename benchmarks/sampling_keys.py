"""What each key of `sampling` costs and changes: seconds, network calls, and the difference from the result without it.

    python benchmarks/sampling_keys.py runs/mirage-toy-XXXXXXXX/0001/4-reference [--clips 8] [--rounds 3] [--json FILE]

The held-out clips of a run are made again, with equal noise in every arm; arms alternate, and seconds are medians per
clip (on a CPU the processor's own). An arm changes the recipe's sampling by one key, without guidance or with the
guidance that the key needs, and is compared with the arm that lacks the key: `picture` is the RMS difference of frames
in percent of full scale, `sound` that of samples in percent of the other's RMS. An arm that the recipe's check refuses
is left out, and says why.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import Tensor, cat

from talkies.config import RecipeError
from talkies.data.shards import ShardSet
from talkies.flow.config import (
    AnnealedScale,
    LinearQuadraticGridSchedule,
    LinearQuadraticSchedule,
    ReuseConfig,
    SamplingConfig,
    SkipLayerConfig,
    UniformSchedule,
)
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.models.systems import SYSTEMS
from talkies.recipe.components import parts
from talkies.recipe.config import PhaseRecipe
from talkies.recipe.sampling import check_sampling
from talkies.runs.place import place_of
from talkies.runs.source import open_source
from talkies.runs.validation import batches, requests_of
from talkies.streams.batch import Condition, Denoiser, Stream
from talkies.streams.codec import Media

PLAIN, ALL = "plain", "guided by all"
SCALE, NEGATIVE = 3.0, "noise, blur"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """`sampling`, compared with the arm `against`. `negative`: with a negative prompt."""

    name: str
    sampling: SamplingConfig
    against: str | None = None
    negative: bool = False


@dataclass(kw_only=True)
class Row:
    """One arm, measured. `left_out`: why it did not run."""

    arm: str
    against: str | None
    calls: int = 0
    seconds: list[float] = field(default_factory=list)
    median: float | None = None
    picture: float | None = None
    sound: float | None = None
    left_out: str | None = None

    def line(self) -> str:
        """The line of the table."""
        if self.left_out is not None:
            return f"{self.arm:<26} left out: {self.left_out}"
        differences = ["-" if x is None else f"{x:.2f} %" for x in (self.picture, self.sound)]
        seconds = f"{self.median or 0:.3f}"
        return f"{self.arm:<26}{self.calls:>7}{seconds:>10}  {self.against or '-':<24}" + "".join(
            f"{text:>10}" for text in differences
        )


class Counted:
    """A denoiser that counts its evaluations."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.calls = denoiser, 0

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        self.calls += 1
        return self.denoiser(streams, condition)


def arms(recipe: PhaseRecipe, steps: int) -> list[Arm]:
    """Every key alone, on top of what it needs."""
    off = {"skip_layer": None, "reuse": None, "windows": None}
    plain = replace(recipe.sampling, steps=steps, scales={}, **off)
    scales = [*recipe.system.scales]
    first = replace(plain, scales={scales[0]: SCALE})
    every = replace(plain, scales=dict.fromkeys(scales, SCALE))
    skipped = SkipLayerConfig(layers=(parts(recipe).blocks // 2,))
    attention, branches = ReuseConfig(attention_every=2), ReuseConfig(branches_every=5)
    one = f"guided by {scales[0]}"
    schedules = [UniformSchedule(), LinearQuadraticSchedule(), LinearQuadraticGridSchedule(steps=steps)]
    return [
        Arm(name=PLAIN, sampling=plain),
        Arm(name="half of the steps", sampling=replace(plain, steps=max(1, steps // 2)), against=PLAIN),
        *(Arm(name=s.kind, sampling=replace(plain, schedule=s), against=PLAIN) for s in schedules),
        *(Arm(name=f"guided by {s}", sampling=replace(plain, scales={s: SCALE}), against=PLAIN) for s in scales),
        *([Arm(name=ALL, sampling=every, against=PLAIN)] if len(scales) > 1 else []),
        Arm(name="annealed", sampling=annealed(first, scales[0]), against=one),
        Arm(name="annealed early", sampling=annealed(first, scales[0], early=5.0), against=one),
        Arm(name="annealed late", sampling=annealed(first, scales[0], late=5.0), against=one),
        Arm(name="negative prompt", sampling=first, against=one, negative=True),
        Arm(name="skip_layer", sampling=replace(plain, skip_layer=skipped), against=PLAIN),
        Arm(
            name="skip_layer rescaled",
            sampling=replace(plain, skip_layer=replace(skipped, rescale=0.7)),
            against="skip_layer",
        ),
        Arm(name="attention every 2nd", sampling=replace(plain, reuse=attention), against=PLAIN),
        Arm(name="branches every 5th", sampling=replace(every, reuse=branches), against=ALL if scales[1:] else one),
        Arm(
            name="attention and branches",
            sampling=replace(every, reuse=replace(attention, branches_every=5)),
            against=ALL if scales[1:] else one,
        ),
    ]


def annealed(base: SamplingConfig, name: str, **form: float) -> SamplingConfig:
    """From twice the scale to none."""
    return replace(base, scales={name: AnnealedScale(first=2 * SCALE, last=1.0, **form)})


def measured(
    recipe: PhaseRecipe, model: Generator, requests: Sequence[Request], *, steps: int, rounds: int, warmup: int = 1
) -> list[Row]:
    """Every arm, alternating; the `warmup` rounds do not count."""
    turns = [(arm, Row(arm=arm.name, against=arm.against)) for arm in arms(recipe, steps)]
    made: dict[str, list[Media]] = {}
    for arm, row in turns:
        try:
            check_sampling(recipe, arm.sampling)
        except RecipeError as error:
            row.left_out = str(error)
    for number in range(warmup + rounds):
        for arm, row in turns:
            if row.left_out is None:
                made[arm.name] = _turn(arm, row, model, requests, counts=number >= warmup)
    for row in (row for _, row in turns if row.left_out is None):
        row.median = statistics.median(row.seconds) / len(requests)
        if row.against in made:
            row.picture, row.sound = differences(made[row.arm], made[row.against])
    return [row for _, row in turns]


def _turn(arm: Arm, row: Row, model: Generator, requests: Sequence[Request], *, counts: bool) -> list[Media]:
    counted = Counted(model.denoiser)
    # Other processes must not count, where the model's own time can be told.
    clock = time.process_time if str(model.device) == "cpu" else time.perf_counter
    texts = dict.fromkeys(model.text_codecs, NEGATIVE) if arm.negative else {}
    asked = [replace(request, negative=texts) for request in requests]
    begin = clock()
    clips = generate(replace(model, denoiser=counted), asked, arm.sampling, seed=0)
    if counts:
        row.seconds.append(clock() - begin)
    row.calls = counted.calls
    return clips


def differences(clips: Sequence[Media], others: Sequence[Media]) -> tuple[float | None, float | None]:
    """RMS of the frames' differences, percent of full scale; of the sounds', percent of the others' RMS."""
    picture = sound = None
    if clips[0].frames is not None:
        frames, before = (cat([clip.frames for clip in some if clip.frames is not None]) for some in (clips, others))
        picture = 50 * float((frames - before).square().mean().sqrt())
    if clips[0].samples is not None:
        samples, was = (cat([clip.samples for clip in some if clip.samples is not None]) for some in (clips, others))
        sound = 100 * float((samples - was).square().mean().sqrt() / was.square().mean().sqrt().clamp(min=1e-9))
    return picture, sound


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write it to --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--clips", type=int, default=8, help="held-out clips (8)")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds (3)")
    parser.add_argument("--steps", type=int, help="steps of the sampler (the recipe's)")
    parser.add_argument("--json", type=Path, help="file for the rows")
    args = parser.parse_args(argv)
    source = open_source(str(args.run), Path, systems=SYSTEMS)
    heldout = ShardSet.open(place_of(args.run).data_root / "sets" / source.recipe.data.heldout)
    model = source.generator(heldout)
    if args.clips > len(heldout):
        parser.error(f"--clips {args.clips}: {source.recipe.data.heldout} has {len(heldout)}")
    held = batches(heldout, args.clips, parts(source.recipe).held_out)
    requests = [request for batch in held for request in requests_of(batch, model)]
    steps = args.steps or source.recipe.sampling.steps
    rows = measured(source.recipe, model, requests, steps=steps, rounds=args.rounds)
    print(f"{'key':<26}{'calls':>7}{'seconds':>10}  {'against':<24}{'picture':>10}{'sound':>10}")
    for row in rows:
        print(row.line())
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
