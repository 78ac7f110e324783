"""DeepSpeed's engine on the CPU: partitions, reductions, steps and state, but not the CUDA path of a user's run."""

import deepspeed
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy

from talkies.parallel.zero import ZeroStrategy

deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # a C++ build of 90 s, which gloo replaces


class OnTheCpuNotTheCudaPath(ZeroStrategy):
    """ZeroStrategy without Lightning's check for CUDA, and with an index for the CPU device."""

    def setup_environment(self) -> None:
        super(DeepSpeedStrategy, self).setup_environment()

    @property
    def parallel_devices(self) -> list[torch.device] | None:  # type: ignore[override]
        return self._parallel_devices

    @parallel_devices.setter
    def parallel_devices(self, devices: list[torch.device] | None) -> None:
        self._parallel_devices = None if devices is None else [torch.device("cpu", i) for i in range(len(devices))]
