"""What a phase will be, before it runs: parameters, latents, tokens, FLOPs, memory, disk. No Lightning, no data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from talkies.codecs.config import CodecsConfig
from talkies.data.config import DataConfig
from talkies.models.config import MovaConfig
from talkies.planning.cost import Compute, Disk, Memory, compute, disk, h100_days, memory
from talkies.planning.parameters import Part, count_parts
from talkies.prepare.geometry import Geometry
from talkies.streams import Grid, Modality
from talkies.training.config import LoraConfig, PhaseConfig, StepsConfig, ValidationConfig


class Phase(Protocol):
    """The sections of a phase recipe that decide its cost (recipe.config.PhaseRecipe has them all)."""

    @property
    def name(self) -> str: ...
    @property
    def phase(self) -> PhaseConfig: ...
    @property
    def model(self) -> MovaConfig: ...
    @property
    def codecs(self) -> CodecsConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def steps(self) -> StepsConfig: ...
    @property
    def validation(self) -> ValidationConfig: ...
    @property
    def precision(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Latent:
    """One stream of a clip: shape (channels first) and tokens in its tower."""

    shape: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Optimizer steps, the clips and hours of media that they see, and how often they save and validate. How many
    epochs that is depends on the data, which a plan does not open."""

    steps: int
    clips: int
    hours: float
    checkpoints: int
    validations: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one phase in one process, which holds the whole model (`ranks` 1)."""

    name: str
    kind: str
    preset: str
    precision: str
    geometry: str
    seconds: float
    ranks: int
    parts: tuple[Part, ...]
    latents: dict[str, Latent]
    compute: Compute
    memory: Memory
    duration: Duration
    disk: Disk

    @property
    def flops(self) -> int:
        """Useful FLOPs of the whole phase."""
        return self.compute.useful * self.duration.steps

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with the sums that a reader wants."""
        values = asdict(self)
        values["parts"] = {part.name: {"built": part.built, "trained": part.trained} for part in self.parts}
        values["parameters"] = {key: sum(getattr(p, key) for p in self.parts) for key in ("built", "trained")}
        values["memory"]["total"] = self.memory.total
        values["compute"]["phase"] = self.flops
        values["h100_days"] = h100_days(self.compute.with_recompute * self.duration.steps)
        return values


def plan(recipe: Phase, *, components: frozenset[str], grids: Mapping[Modality, Grid]) -> Plan:
    """Plan one phase that builds `components` and trains on latents of `grids` (recipe.check.check returns them).

    The parameters are counted on the modules, built on the meta device.
    """
    shape, steps, text = recipe.model.shape, recipe.steps, recipe.codecs.text
    patches = {"video": shape.video.patch, "audio": shape.audio.patch}
    latents = {str(m): Latent(shape=g.latent_shape, tokens=g.tokens(patches[m])) for m, g in grids.items()}
    latents["text"] = Latent(shape=(text.dim, text.length), tokens=text.length)
    tokens = {name: latent.tokens for name, latent in latents.items()}
    parts = count_parts(recipe.model, recipe.phase, components)
    seconds = float(Geometry.parse(recipe.data.geometry, key="data.geometry").seconds)
    clips = steps.max * steps.global_batch
    lora = isinstance(recipe.phase, LoraConfig)
    return Plan(
        name=recipe.name,
        kind=recipe.phase.kind,
        preset=recipe.model.preset,
        precision=recipe.precision,
        geometry=recipe.data.geometry,
        seconds=seconds,
        ranks=1,
        parts=parts,
        latents=latents,
        compute=compute(shape, tokens, components=sorted(components), lora=lora, clips=steps.global_batch),
        memory=memory(parts, bf16=recipe.precision == "bf16"),
        duration=Duration(
            steps=steps.max,
            clips=clips,
            hours=clips * seconds / 3600,
            checkpoints=-(-steps.max // steps.checkpoint_every),
            validations=-(-steps.max // recipe.validation.every),
        ),
        disk=disk(parts, keep=steps.keep),
    )
