"""`talkies` with a toy network that is small enough to be kept in the repository: `python program.py VERB ...`.

It runs today's version, and (its copy in the archive) the one that made the archive. DeepSpeed's engine works on the
CPU, which is not the CUDA path of a user's run.
"""

import os
import sys
from dataclasses import replace

from talkies.models.mova.config import PRESETS

toy = PRESETS["toy"]
PRESETS["toy"] = replace(
    toy,
    video=replace(toy.video, dim=24, ffn_dim=24, heads=1, layers=1, freq_dim=8),
    audio=replace(toy.audio, dim=24, ffn_dim=24, heads=1, layers=1, freq_dim=8),
    bridge=replace(toy.bridge, layers=1),
)


def zero_without_cuda() -> None:
    """Let recipes of kind deepspeed train on this machine."""
    import deepspeed
    import torch
    from lightning.pytorch.strategies import DeepSpeedStrategy

    from talkies.parallel import machine, strategy

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # a C++ build of 90 s; gloo serves as well

    class OnTheCpu(strategy.ZeroStrategy):  # type: ignore[name-defined, misc]
        def setup_environment(self) -> None:
            super(DeepSpeedStrategy, self).setup_environment()

        @property
        def parallel_devices(self) -> list[torch.device] | None:
            return self._parallel_devices

        @parallel_devices.setter
        def parallel_devices(self, devices: list[torch.device] | None) -> None:
            self._parallel_devices = None if devices is None else [torch.device("cpu", i) for i in range(len(devices))]

    strategy.ZeroStrategy = OnTheCpu  # type: ignore[misc]
    machine.check_machine = lambda *_, **__: None  # type: ignore[assignment]


if __name__ == "__main__":
    from talkies.cli.main import run

    if any("deepspeed" in word for word in sys.argv):
        zero_without_cuda()
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # like the console script: threads of process groups can abort an interpreter that ends
