"""Jobs of a Slurm cluster: site profiles, scripts, chains of jobs, and what a job does when it is preempted."""
