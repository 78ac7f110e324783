"""The state of a phase under DeepSpeed's ZeRO: spans of flat fp32 partitions, one partition per parameter group.

DeepSpeed's own accessors gather a whole parameter on every rank, or write a state that is tied to the number of ranks.
Here each rank reads and writes its own spans, so that a checkpoint equals that of any other layout. Written against
the attributes of the two ZeRO optimizers in DeepSpeed 0.19.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talkies.checkpoints.spans import StateTensor, TensorSpan, local
from talkies.config import CheckpointError

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """`count` elements of a parameter, from its `start`, lie at `offset` in this rank's `flat` partition of a group."""

    name: str
    shape: torch.Size
    start: int
    count: int
    flat: Tensor
    offset: int

    def of(self, values: Tensor) -> TensorSpan:
        """The span of `values`, which are laid out like the partition."""
        return TensorSpan(values=values[self.offset : self.offset + self.count], shape=self.shape, start=self.start)


class ZeroState:
    """The state of DeepSpeed's `engine`, whose module contains the trained `model`."""

    def __init__(self, engine: Any, model: nn.Module) -> None:
        self.engine, self.optimizer = engine, engine.optimizer
        names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
        self.third = hasattr(self.optimizer, "fp32_partitioned_groups_flat")
        self.slots = list(self._of_stage_3(names) if self.third else self._of_stages_1_and_2(names))

    def _of_stages_1_and_2(self, names: Mapping[int, str]) -> Iterator[Slot]:
        optimizer = self.optimizer
        for group, flat in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
            for parameter in group:
                fragment = parameter._hp_mapping
                yield Slot(
                    name=names[id(parameter)],
                    shape=parameter.shape,
                    start=fragment.lp_fragment_address.start if fragment else 0,
                    count=fragment.lp_fragment_address.numel if fragment else 0,
                    flat=flat,
                    offset=fragment.hp_fragment_address.start if fragment else 0,
                )

    def _of_stage_3(self, names: Mapping[int, str]) -> Iterator[Slot]:
        optimizer = self.optimizer
        for group, flat in zip(optimizer.fp16_groups, optimizer.fp32_partitioned_groups_flat, strict=True):
            for parameter in group:
                _, offset, each = optimizer.grad_position[optimizer.get_param_id(parameter)]
                start = min(each * torch.distributed.get_rank(), parameter.ds_numel)
                yield Slot(
                    name=names[id(parameter)],
                    shape=torch.Size(parameter.ds_shape),
                    start=start,
                    count=min(each, parameter.ds_numel - start),
                    flat=flat,
                    offset=offset,
                )

    def weights(self) -> dict[str, StateTensor]:
        """The fp32 masters."""
        return {slot.name: slot.of(slot.flat.detach()) for slot in self.slots}

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the masters to the weights that the network computes with."""
        if not self.third:
            self.optimizer.update_lp_params()
            return
        self.optimizer._partition_all_parameters()
        for group in range(len(self.optimizer.fp16_groups)):
            self.optimizer._reassign_or_swap_out_partitioned_parameters(group)
        if persistent := self.optimizer.persistent_parameters:
            persistent[0].all_gather(persistent)

    def moments(self) -> dict[str, StateTensor]:
        """The moments of every group that has been stepped."""
        moments: dict[str, StateTensor] = {}
        for slot in self.slots:
            state = self._states().get(slot.flat, {})
            if "step" in state:
                moments |= {f"{slot.name}/{key}": slot.of(state[key]) for key in MOMENTS}
                moments[f"{slot.name}/step"] = state["step"]
        return moments

    def restore(self, moments: Mapping[str, StateTensor]) -> None:
        """Write the moments into the partitions; a group has one step count for all its parameters."""
        for slot in self.slots:
            key = f"{slot.name}/step"
            if key not in moments:
                continue
            step = local(moments[key])
            if slot.flat not in self._states():
                empty = {name: torch.zeros_like(slot.flat) for name in MOMENTS}
                self._states()[slot.flat] = {"step": step.clone(), **empty}
            state = self._states()[slot.flat]
            if float(state["step"]) != float(step):
                raise CheckpointError(
                    f"checkpoint: {slot.name} was stepped {int(step)} times, others of its group {int(state['step'])}; "
                    "DeepSpeed has one count per group: continue with `parallel.kind` fsdp2 or ddp"
                )
            for name in MOMENTS:
                slot.of(state[name]).values.copy_(local(moments[f"{slot.name}/{name}"]))

    def _states(self) -> Any:
        return self.optimizer.optimizer.state

    def begin_step(self) -> None:
        """Clear the gradient buffer: stage 3 would count old gradients of parameters that get none in this step."""
        if self.third:
            self.optimizer.grad_partitions_flat_buffer.zero_()

    def norm_before(self) -> None:
        """None: the engine clips, and makes no step if the norm is not finite."""

    def norm_after(self) -> Tensor:
        """The gradient norm of the last step; infinite if it was not finite, and no step was made."""
        return torch.as_tensor(self.engine.get_global_grad_norm(), dtype=torch.float32).detach()
