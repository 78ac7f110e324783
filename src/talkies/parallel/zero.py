"""DeepSpeed's ZeRO as a Lightning strategy, over weights that this project places itself."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import Tensor, nn

from talkies.parallel.config import DeepspeedConfig
from talkies.parallel.world import World
from talkies.parallel.zero_sizes import BUCKET, LIVE

WHOLE = 10**15
"""More elements than any parameter group has, so that each group is one partition."""


def zero_config(layout: DeepspeedConfig, *, clip: float) -> dict[str, Any]:
    """DeepSpeed's configuration: weights, masters and communication are fp32 (`arrange` makes blocks compute in bf16).
    `clip` is the limit of the gradient norm, 0 for none."""
    cuda = torch.cuda.is_available()
    zero: dict[str, Any] = {
        "stage": layout.stage,
        "contiguous_gradients": True,
        "overlap_comm": cuda,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
        "sub_group_size": WHOLE,
        "memory_efficient_linear": False,
        "stage3_max_live_parameters": LIVE,
        "stage3_max_reuse_distance": LIVE,
    }
    if layout.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": cuda}
    return {
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's own fused AdamW needs no compiler at run time
        "gradient_clipping": clip,
        "train_micro_batch_size_per_gpu": 1,  # used only by DeepSpeed's own throughput log, which is off
    }


def set_deepspeed_environment(world: World) -> None:
    """Set the environment variables that DeepSpeed reads: srun does not set them, and a single process has none."""
    os.environ |= {"RANK": str(world.rank), "WORLD_SIZE": str(world.size), "LOCAL_RANK": str(world.local)}


class ZeroPrecision(DeepSpeedPrecision):
    """fp32, from Lightning's point of view."""

    def __init__(self) -> None:
        super().__init__("32-true")

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Return it unchanged: it is fp32 but for frozen weights that are held in bf16."""
        return module

    def convert_input(self, data: Any) -> Any:
        """Return it unchanged: a Batch is frozen, and fp32."""
        return data

    def backward(self, tensor: Tensor, model: LightningModule, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Without DeepSpeed's division by the number of micro-batches: Lightning 2.6.6 has already divided the loss."""
        del optimizer
        model.trainer.model.backward(tensor, *args, scale_wrt_gas=False, **kwargs)


class ZeroStrategy(DeepSpeedStrategy):
    """Lightning's strategy, for an existing process group and a module that builds and places its own weights."""

    def __init__(self, layout: DeepspeedConfig, world: World, *, clip: float) -> None:
        super().__init__(config=zero_config(layout, clip=clip), logging_level=logging.ERROR)
        self.layout, self.world = layout, world

    def setup_distributed(self) -> None:
        """Make DeepSpeed use the existing process group."""
        import deepspeed  # noqa: PLC0415 (seconds, and installed only where it is wanted)

        self.set_world_ranks()
        deepspeed.init_distributed(dist_init_required=False, verbose=False)

    def init_deepspeed(self) -> None:
        """Skip Lightning's warning about modules that clip by themselves: ours leaves clipping to DeepSpeed."""
        assert self.lightning_module is not None
        self._initialize_deepspeed_train(self.lightning_module)

    @contextmanager
    def model_sharded_context(self) -> Generator[None, None, None]:
        """Do not shard implicitly: `Partitions` does it."""
        yield


class Partitions:
    """Stage 3: every parameter is made whole, then immediately partitioned over the ranks."""

    def __init__(self) -> None:
        import deepspeed  # noqa: PLC0415

        deepspeed.init_distributed(dist_init_required=False, verbose=False)
        self._init = deepspeed.zero.Init

    def cut(self, parameter: nn.Parameter) -> None:
        """Keep this rank's part of `parameter`; every rank must call it with the same parameters in the same order."""
        holder = nn.Module()
        holder.register_parameter("cut", parameter)
        # DeepSpeed's memory-efficient linear would patch torch's for every module of the process.
        self._init(module=holder, mem_efficient_linear=False, dtype=parameter.dtype)
