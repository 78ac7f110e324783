"""Jobs of a Slurm cluster: site profiles, scripts, chains of jobs, preemption and requeues."""
