"""The memory of GPUs that plans know, apart so that `talkies plan --help` imports nothing else."""

GPUS = (24, 48, 80, 141)
"""GB on the label. A plan may use as many 10^9 bytes: GPUs have that many 2^30 bytes, which leaves 7 % for CUDA's
context, NCCL and fragmentation."""
