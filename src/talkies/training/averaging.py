"""The callback that averages the weights."""

from lightning import Callback, Trainer

from talkies.training.config import EmaConfig
from talkies.training.ema import Ema
from talkies.training.phase import Phase


class Averaging(Callback):
    """Keeps the EMA of what a phase trains. A step that the guard skipped does not count."""

    def __init__(self, config: EmaConfig) -> None:
        self.config = config
        self._ema: Ema | None = None

    @property
    def ema(self) -> Ema:
        """The averages, from the start of training on."""
        assert self._ema is not None, "training has not begun"
        return self._ema

    def begin(self, phase: Phase) -> Ema:
        """Averages of the weights as they are now."""
        self._ema = Ema(phase.trainable(), self.config)
        return self._ema

    def on_train_start(self, trainer: Trainer, pl_module: Phase) -> None:
        """The weights are built; a checkpoint is restored after this."""
        del trainer
        self.begin(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Phase, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """After the last micro-batch of a step."""
        del trainer, outputs, batch
        if pl_module.ends_step(batch_idx) and not pl_module.guard.skip:
            self.ema.update(pl_module.trainable())
