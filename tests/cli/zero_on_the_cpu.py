"""The command line with DeepSpeed's engine on the CPU, which is not the CUDA path of a user's run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "parallel"))

from cpu_zero import OnTheCpuNotTheCudaPath

from talkies.cli.main import run
from talkies.parallel import machine, strategy


def without_cuda() -> None:
    """Let recipes of kind deepspeed train on this machine."""
    strategy.ZeroStrategy = OnTheCpuNotTheCudaPath  # type: ignore[misc]
    machine.check_machine = lambda *_, **__: None  # type: ignore[assignment]


if __name__ == "__main__":
    without_cuda()
    sys.exit(run())
