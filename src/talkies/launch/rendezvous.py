"""The rendezvous of processes that srun started without MASTER_ADDR."""

import os
from collections.abc import MutableMapping

from talkies.config import RecipeError

FIRST_PORT, PORTS = 20_000, 12_000
"""Below the range from which Linux picks ports by itself (32768 to 60999): one of those may become the local end of any
connection before the first rank listens, even of another rank's attempts to connect to it."""


def meet(environment: MutableMapping[str, str] = os.environ) -> None:
    """In a task of srun, set MASTER_ADDR and MASTER_PORT unless they are set.

    In an sbatch job srun runs on the first node, so that its IP address is right and needs no name resolution; the port
    follows from job, step and restart. Raises RecipeError elsewhere: under salloc, srun may run on a login node.
    """
    if "SLURM_STEP_ID" not in environment or "MASTER_ADDR" in environment:
        return
    if environment.get("ENVIRONMENT") != "BATCH":
        raise RecipeError(
            "parallel: srun outside of an sbatch job without MASTER_ADDR: set it to the node of task 0, and "
            "MASTER_PORT to a free port there"
        )
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    environment["MASTER_ADDR"] = environment["SLURM_LAUNCH_NODE_IPADDR"]
    environment.setdefault("MASTER_PORT", str(FIRST_PORT + (job * 31 + step * 7 + restart) % PORTS))
