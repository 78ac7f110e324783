"""A site profile: read, checked, and asked for the allocation of a phase."""

from dataclasses import dataclass
from pathlib import Path

from talkies.config import RecipeError
from talkies.config.decode import decode
from talkies.config.shown import shown
from talkies.config.source import load, unresolved
from talkies.launch.config import SiteConfig, SlurmConfig, seconds_of
from talkies.launch.secrets import refuse_secrets


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one job asks for: `time` as Slurm writes it, and whether it queues itself again."""

    nodes: int
    per_node: int
    time: str
    requeue: bool

    @property
    def ranks(self) -> int:
        """Processes."""
        return self.nodes * self.per_node


def load_site(path: Path) -> SiteConfig:
    """The site profile at `path`. Raises RecipeError as every recipe does, and for a credential."""
    kind = unresolved(path).values.get("kind")
    if kind != "site":
        raise RecipeError(f"site: `kind` is {shown(kind)} in {path}; a site profile has `kind: site`")
    source = load(path)
    refuse_secrets(source)
    site = decode(SiteConfig, source)
    if site.lead >= seconds_of(site.limits.time):
        raise RecipeError(
            f"site: `lead` is {site.lead} s, `limits.time` {site.limits.time}: a job would be signalled as it starts; "
            "lower `lead`"
        )
    return site


def allocation(site: SiteConfig, slurm: SlurmConfig, *, ranks: int, phase: str) -> Allocation:
    """The nodes of a phase of `ranks` ranks. RecipeError where they are others than the layout's, or more than the
    site gives."""
    limits = site.limits
    per_node = slurm.gpus_per_node or _per_node(slurm, ranks, limits.gpus_per_node)
    nodes = slurm.nodes or max(1, ranks // per_node)
    if nodes * per_node != ranks:
        raise RecipeError(
            f"submit: phase {shown(phase)} has {ranks} ranks (`parallel`), but `slurm` gives {nodes} nodes x "
            f"{per_node} GPUs = {nodes * per_node}: change `parallel`, `slurm.nodes` or `slurm.gpus_per_node`"
        )
    wanted = {"nodes": nodes, "gpus_per_node": per_node}
    for key, found in wanted.items():
        most = getattr(limits, key)
        if found > most:
            raise RecipeError(
                f"submit: phase {shown(phase)} needs {found} {key.replace('_', ' ')}, the site gives {most} "
                f"(`limits.{key}`): choose a smaller layout (`parallel`, `slurm.{key}`) or another site"
            )
    return Allocation(nodes=nodes, per_node=per_node, time=_time(site, slurm, phase), requeue=slurm.requeue)


def _per_node(slurm: SlurmConfig, ranks: int, most: int) -> int:
    """As many as the given nodes share equally, or as many as a node has."""
    return max(1, ranks // slurm.nodes) if slurm.nodes else min(ranks, most)


def _time(site: SiteConfig, slurm: SlurmConfig, phase: str) -> str:
    time, limit = slurm.time or site.limits.time, site.limits.time
    if seconds_of(time) > seconds_of(limit):
        advice = "an attempt that ends there queues itself again, so ask for less"
        raise RecipeError(
            f"submit: phase {shown(phase)} asks for {time} (`slurm.time`), the site gives {limit} "
            f"(`limits.time`): {advice}"
        )
    if seconds_of(time) <= site.lead:
        raise RecipeError(
            f"submit: phase {shown(phase)} asks for {time} (`slurm.time`), but is signalled {site.lead} s before "
            "its end (`lead`): ask for more"
        )
    return time
