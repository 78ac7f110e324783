"""Between gradients and weights: the guard's verdict, and clipping by the global norm."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from talkies.checkpoints.spans import whole
from talkies.resilience.guard import Guard
from talkies.training.state import TrainingState


class GuardedSteps:
    """The optimizer steps of a phase, each of `accumulate` micro-batches. `clip` is the largest norm allowed (0: any);
    `grad_norm` is the norm of the last step, before clipping."""

    def __init__(self, guard: Guard, *, clip: float, accumulate: int) -> None:
        self.guard, self.clip, self.accumulate = guard, clip, accumulate
        self.grad_norm = torch.zeros(())

    def begin(self, state: TrainingState) -> None:
        """An optimizer step begins."""
        self.guard.begin()
        state.begin_step()

    def before(
        self,
        optimizer: torch.optim.Optimizer,
        state: TrainingState,
        model: nn.Module,
        *,
        number: int,
        turn: int | None,
        mean: Callable[[Tensor], Tensor],
    ) -> None:
        """Judge step `number`, whose gradients are complete, and clip them. For a skipped step all groups become
        inactive. `mean` averages a loss over all processes."""
        norm = state.norm_before()
        if norm is not None:
            self.grad_norm = whole(norm)
        if self.guard.seen < self.accumulate:
            return  # under DeepSpeed this hook runs after every micro-batch
        loss = self.guard.loss(mean) if self.guard.watches_losses else 0.0
        known = 0.0 if norm is None else float(self.grad_norm)
        self.guard.judge(number, turn, loss, known, lambda: first_not_finite(model))
        if self.guard.skip:
            for group in optimizer.param_groups:
                group["inactive"] = True
        elif norm is not None and self.clip:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)

    def after(self, state: TrainingState, number: int) -> None:
        """After step `number`: refuse it if DeepSpeed has found a non-finite norm."""
        norm = state.norm_after()
        if norm is None:
            return
        self.grad_norm = norm
        if not bool(torch.isfinite(norm)) and not self.guard.skip:
            self.guard.refuse("non_finite", number, f"the gradient norm is {float(norm)} (DeepSpeed)")


def first_not_finite(model: nn.Module) -> str:
    """The name of the first parameter whose gradient is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return name
    return "none (the norm itself overflowed)"
