"""DeepSpeed's ZeRO as one of Lightning's strategies, on weights that this project has placed itself."""

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
"""More elements than any parameter group has: each is one partition."""


def zero_config(layout: DeepspeedConfig, *, clip: float) -> dict[str, Any]:
    """What DeepSpeed is told: weights, masters and all that is sent are fp32 (`arrange` lowers what blocks compute).
    `clip` is the limit of the gradient's norm, 0 for none."""
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
        "train_micro_batch_size_per_gpu": 1,  # for DeepSpeed's own throughput log alone, which is off
    }


def tell_deepspeed(world: World) -> None:
    """Who this process is, under the names that DeepSpeed reads: srun, and a process alone, have not set them."""
    os.environ |= {"RANK": str(world.rank), "WORLD_SIZE": str(world.size), "LOCAL_RANK": str(world.local)}


class ZeroPrecision(DeepSpeedPrecision):
    """fp32 as Lightning sees it."""

    def __init__(self) -> None:
        super().__init__("32-true")

    def convert_input(self, data: Any) -> Any:
        """The same: a Batch is frozen, and fp32."""
        return data

    def backward(self, tensor: Tensor, model: LightningModule, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Lightning 2.6.6 has divided the loss by the number of micro-batches, and DeepSpeed would do so again."""
        del optimizer
        model.trainer.model.backward(tensor, *args, scale_wrt_gas=False, **kwargs)


class ZeroStrategy(DeepSpeedStrategy):
    """Lightning's strategy, in a world whose process group exists, for a module that builds and places its weights."""

    def __init__(self, layout: DeepspeedConfig, world: World, *, clip: float) -> None:
        super().__init__(config=zero_config(layout, clip=clip), logging_level=logging.ERROR)
        self.layout, self.world = layout, world

    def setup_distributed(self) -> None:
        """DeepSpeed takes the process group that there is."""
        import deepspeed  # noqa: PLC0415 (seconds, and installed only where it is wanted)

        self.set_world_ranks()
        deepspeed.init_distributed(dist_init_required=False, verbose=False)

    def init_deepspeed(self) -> None:
        """Without Lightning's remark on a module that clips by itself: ours leaves it to DeepSpeed."""
        assert self.lightning_module is not None
        self._initialize_deepspeed_train(self.lightning_module)

    @contextmanager
    def model_sharded_context(self) -> Generator[None, None, None]:
        """Nothing is sharded behind the module's back (`Partitions` does it)."""
        yield


class Partitions:
    """Stage 3: a parameter is made whole, then at once cut into the parts that the ranks keep."""

    def __init__(self) -> None:
        import deepspeed  # noqa: PLC0415

        deepspeed.init_distributed(dist_init_required=False, verbose=False)
        self._init = deepspeed.zero.Init

    def cut(self, parameter: nn.Parameter) -> None:
        """Keep this rank's part of it; every rank must call it with the same ones."""
        holder = nn.Module()
        holder.register_parameter("cut", parameter)
        # Its linear layer of its own is a patch of torch's for every module of the process.
        self._init(module=holder, mem_efficient_linear=False, dtype=parameter.dtype)
