"""Read and check a site profile, and compute the allocation of a phase."""

from dataclasses import dataclass
from pathlib import Path

from talkies.config import RecipeError
from talkies.config.decode import decode
from talkies.config.quoting import shown
from talkies.config.source import load, unresolved
from talkies.launch.config import SiteConfig, SlurmConfig, seconds_of
from talkies.launch.secrets import refuse_secrets


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one job requests; `time` as Slurm writes it, `requeue`: whether it requeues itself."""

    nodes: int
    per_node: int
    time: str
    requeue: bool

    @property
    def ranks(self) -> int:
        """The number of processes."""
        return self.nodes * self.per_node


def load_site(path: Path) -> SiteConfig:
    """The site profile at `path`. Raises RecipeError as for recipes, and for a credential."""
    kind = unresolved(path).values.get("kind")
    if kind != "site":
        raise RecipeError(f"site: `kind` is {shown(kind)} in {path}; a site profile has `kind: site`")
    source = load(path)
    refuse_secrets(source)
    site = decode(SiteConfig, source)
    if site.lead >= seconds_of(site.limits.time):
        raise RecipeError(
            f"site: `lead` is {site.lead} s, `limits.time` {site.limits.time}: a job would be signalled at its start; "
            "lower `lead`"
        )
    return site


def allocation(site: SiteConfig, slurm: SlurmConfig, *, ranks: int, phase: str) -> Allocation:
    """The allocation of a phase of `ranks` ranks. RecipeError if it does not fit the layout, or exceeds the site's
    limits."""
    limits = site.limits
    per_node = slurm.gpus_per_node or _per_node(slurm, ranks, limits.gpus_per_node)
    nodes = slurm.nodes or max(1, ranks // per_node)
    if nodes * per_node != ranks:
        raise RecipeError(
            f"submit: phase {shown(phase)} has {ranks} ranks (`parallel`), but `slurm` gives {nodes} nodes x "
            f"{per_node} GPUs = {nodes * per_node}: change `parallel`, `slurm.nodes` or `slurm.gpus_per_node`"
        )
    needed = {"nodes": nodes, "gpus_per_node": per_node}
    for key, count in needed.items():
        most = getattr(limits, key)
        if count > most:
            raise RecipeError(
                f"submit: phase {shown(phase)} needs {count} {key.replace('_', ' ')}, the site gives {most} "
                f"(`limits.{key}`): choose a smaller layout (`parallel`, `slurm.{key}`) or another site"
            )
    return Allocation(nodes=nodes, per_node=per_node, time=_time(site, slurm, phase), requeue=slurm.requeue)


def _per_node(slurm: SlurmConfig, ranks: int, most: int) -> int:
    """GPUs per node: an equal share for the given number of nodes, or all that a node has."""
    return max(1, ranks // slurm.nodes) if slurm.nodes else min(ranks, most)


def _time(site: SiteConfig, slurm: SlurmConfig, phase: str) -> str:
    time, limit = slurm.time or site.limits.time, site.limits.time
    if seconds_of(time) > seconds_of(limit):
        advice = "an attempt that ends there requeues itself, so ask for less"
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
