"""Where the processes that srun started meet, when nobody has said it."""

import os
from collections.abc import MutableMapping

FIRST_PORT, PORTS = 20_000, 12_000
"""Below the ports that Linux hands out by itself."""


def meet(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set MASTER_ADDR and MASTER_PORT in a task of srun: the address of the node that srun runs on, which is the first
    of an sbatch job's and needs no name to be resolved, and a port of this job, step and restart alone."""
    address = environment.get("SLURM_LAUNCH_NODE_IPADDR")
    if "SLURM_STEP_ID" not in environment or address is None:
        return
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    restart = int(environment.get("SLURM_RESTART_COUNT", "0"))
    environment.setdefault("MASTER_ADDR", address)
    environment.setdefault("MASTER_PORT", str(FIRST_PORT + (job * 31 + step * 7 + restart) % PORTS))
