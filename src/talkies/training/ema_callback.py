"""The callback that updates the EMA."""

from lightning import Callback, Trainer

from talkies.training.config import EmaConfig
from talkies.training.ema import Ema
from talkies.training.phase import Phase


class EmaCallback(Callback):
    """Maintains the EMA of a phase's trainable parameters. Steps that the guard skips do not count."""

    def __init__(self, config: EmaConfig) -> None:
        self.config = config
        self._ema: Ema | None = None

    @property
    def ema(self) -> Ema:
        """The EMA; it exists from the start of training on."""
        assert self._ema is not None, "training has not begun"
        return self._ema

    def begin(self, phase: Phase) -> Ema:
        """Start the EMA from the current weights."""
        self._ema = Ema(phase.trainable(), self.config)
        return self._ema

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """Start the EMA of the new weights; a checkpoint is restored after this."""
        del trainer
        self.begin(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step."""
        del trainer, outputs, batch
        if pl_module.ends_step(batch_idx) and not pl_module.guard.skip:
            self.ema.update(pl_module.trainable())
