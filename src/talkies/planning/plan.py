"""The plan of a phase: parameters, latents, tokens, FLOPs, memory, disk. Needs neither Lightning nor data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from talkies.data.config import DataConfig
from talkies.parallel.config import ComputeConfig, Layout
from talkies.planning.activations import activations
from talkies.planning.communication import Communication
from talkies.planning.cost import WRITE_RATE, Compute, Disk, compute, disk, h100_days
from talkies.planning.degrading import degrading
from talkies.planning.gpu import Fit, fit_memory, refuse
from talkies.planning.layout import Divisibility, Share, divisibility, shares
from talkies.planning.memory import Memory
from talkies.planning.parameters import parts_of, skeleton
from talkies.planning.profile import Profiler
from talkies.planning.speed import Rate, Speed, speed
from talkies.planning.work import Beside, Part, Work
from talkies.planning.zero import rank_communication, rank_memory
from talkies.prepare.geometry import Geometry
from talkies.streams import Grid
from talkies.streams.system import Setup, System
from talkies.training.config import LoraConfig, StepsConfig, TrainConfig, ValidationConfig
from talkies.training.lora_targets import check_targets


class PlannedPhase(Setup, Protocol):
    """The sections of a phase recipe that determine its cost (recipe.config.PhaseRecipe has them all)."""

    @property
    def name(self) -> str: ...
    @property
    def system(self) -> System: ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def steps(self) -> StepsConfig: ...
    @property
    def validation(self) -> ValidationConfig: ...
    @property
    def precision(self) -> str: ...
    @property
    def parallel(self) -> Layout: ...
    @property
    def compute(self) -> ComputeConfig: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """The assumptions of a plan: the rate of a GPU, the bytes per second of writing checkpoints, and the GPU (GB) that
    the layout has to fit."""

    rate: Rate = field(default_factory=Rate)
    write_rate: float = WRITE_RATE
    card: int | None = None


@dataclass(frozen=True, kw_only=True)
class Latent:
    """One stream of a clip: shape (channels first) and tokens."""

    shape: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Optimizer steps, the clips and hours of media that they read, and how often they save and validate. The number of
    epochs depends on the data, which a plan does not open."""

    steps: int
    clips: int
    hours: float
    checkpoints: int
    validations: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one phase on its layout; bytes, tokens and FLOPs per rank are the fullest rank's."""

    name: str
    kind: str
    system: str
    preset: str
    precision: str
    masters: str
    geometry: str
    seconds: float
    parallel: Layout
    checkpointing: bool
    ranks: int
    readers: int
    micro_batch: int
    parts: tuple[Part, ...]
    latents: dict[str, Latent]
    shares: dict[str, Share]
    divisibility: Divisibility
    compute: Compute
    speed: Speed
    memory: Memory
    communication: Communication
    fit: Fit | None
    duration: Duration
    disk: Disk

    @property
    def flops(self) -> int:
        """Useful FLOPs of the whole phase."""
        return self.compute.useful * self.duration.steps

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with sums."""
        values = asdict(self)
        values["parts"] = {part.name: {"built": part.built, "trained": part.trained} for part in self.parts}
        values["parameters"] = {key: sum(getattr(p, key) for p in self.parts) for key in ("built", "trained")}
        values["memory"]["total"] = self.memory.total
        values["memory"]["activations"]["total"] = self.memory.activations.total
        values["communication"]["total"] = self.communication.total
        values["compute"]["phase"] = self.flops
        values["h100_days"] = h100_days(self.compute.with_recompute * self.duration.steps)
        return values


def _preset(recipe: PlannedPhase) -> str:
    """The preset that decides the sizes, if no other key does."""
    keys = {one.sized_by for one in recipe.system.components(recipe).values()} - {None}
    own = recipe.model.preset is None or any(getattr(recipe.model, key) is not None for key in keys if key)
    return "of its own sizes" if own else str(recipe.model.preset)


def plan(
    recipe: PlannedPhase, *, components: frozenset[str], grids: Mapping[str, Grid], options: Options | None = None
) -> Plan:
    """Plan one phase that builds `components` and reads streams of `grids` (recipe.check.grids returns them).

    All is counted on the modules, built and run on the meta device. Raises RecipeError for a layout that
    does not fit the GPU of `options`.
    """
    chosen, steps, system = options or Options(), recipe.steps, recipe.system
    latents, model = _latents(recipe, grids), skeleton(system, recipe, components)
    if isinstance(recipe.train, LoraConfig):
        check_targets(model, recipe.train)
    parts = parts_of(system, recipe, model, recipe.train, masters=recipe.compute.masters)
    profiler = Profiler(system, recipe, model, grids=grids, train=recipe.train)
    work = _work(recipe, latents, profiler.turn(), degrading(system, recipe, grids))
    profile = profiler(work)
    kept = activations(profile, checkpointing=work.checkpointing)
    fitted = None if chosen.card is None else fit_memory(parts, work, chosen.card, profiler=profiler)
    if fitted is not None:
        refuse(recipe.name, work, fitted)
    computed = compute(profiler.whole(work.inactive), steps.global_batch)
    geometry = Geometry.parse(recipe.data.geometry, key="data.geometry")
    return Plan(
        name=recipe.name,
        kind=recipe.phase.kind if recipe.train.kind == "all" else f"{recipe.phase.kind}, {recipe.train.kind}",
        system=recipe.system.kind,
        preset=_preset(recipe),
        precision=recipe.precision,
        masters=recipe.compute.masters,
        geometry=recipe.data.geometry,
        seconds=float(geometry.seconds),
        parallel=recipe.parallel,
        checkpointing=work.checkpointing,
        ranks=work.layout.ranks,
        readers=work.readers,
        micro_batch=work.micro,
        parts=parts,
        latents=latents,
        shares=shares(work, profile),
        divisibility=divisibility(work),
        compute=computed,
        speed=speed(work, profile, computed, chosen.rate),
        memory=rank_memory(parts, work, kept),
        communication=rank_communication(parts, work, profile),
        fit=fitted,
        duration=_duration(recipe, float(geometry.seconds)),
        disk=disk(parts, keep=steps.keep, write_rate=chosen.write_rate),
    )


def _latents(recipe: PlannedPhase, grids: Mapping[str, Grid]) -> dict[str, Latent]:
    """Of the streams that have tokens of their own, and of the texts."""
    system, codecs = recipe.system, recipe.codecs
    read = {name: grids[name] for name in system.parts(recipe).streams}
    tokens = system.tokens(recipe, read)
    found = {
        name: Latent(shape=grid.latent_shape, tokens=tokens[name]) for name, grid in read.items() if name in tokens
    }
    for name, codec in system.texts(codecs).items():
        text: Any = codecs[codec]
        found[name] = Latent(shape=(text.dim, text.length), tokens=text.length)
    return found


def _work(recipe: PlannedPhase, latents: Mapping[str, Latent], inactive: frozenset[str], beside: Beside) -> Work:
    parts = recipe.system.parts(recipe)
    return Work(
        tokens={name: latents[name].tokens for name in parts.streams if name in latents and name not in parts.whole},
        inactive=inactive,
        bf16=recipe.precision == "bf16",
        clips=recipe.steps.global_batch,
        accumulate=recipe.steps.accumulate,
        layout=recipe.parallel,
        checkpointing=recipe.compute.checkpointing,
        beside=beside,
    )


def _duration(recipe: PlannedPhase, seconds: float) -> Duration:
    steps = recipe.steps
    clips = steps.max * steps.global_batch
    return Duration(
        steps=steps.max,
        clips=clips,
        hours=clips * seconds / 3600,
        checkpoints=-(-steps.max // steps.checkpoint_every),
        validations=-(-steps.max // recipe.validation.every),
    )
