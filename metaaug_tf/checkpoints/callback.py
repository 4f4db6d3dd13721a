"""When a run writes checkpoints, and how the newest one is restored: training resumes at the very step."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras

from metaaug_tf.checkpoints.callback_state import capture_callbacks, restore_callbacks
from metaaug_tf.checkpoints.environment import environment, environment_difference
from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder, Position
from metaaug_tf.checkpoints.model_state import capture_variables, networks_are_finite, restore_variables
from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.signals import Stopped, StopRequest
from metaaug_tf.workers.workers import Workers


class Checkpoints(keras.callbacks.Callback):
    """Writes checkpoints while `fit_resumably` trains, and restores the newest whole one.

    It writes every few minutes, at each epoch's end, and when a signal stops the run. Of several workers the chief
    reads and writes; the others need not see its files.

    Attributes:
        position: where training is.
        stopped_early: whether a callback had ended the training that was restored.
    """

    def __init__(
        self,
        model: MetaAugment,
        folder: Path,
        keep: int = 3,
        minutes: float = 10,
        digest: str = "",
        stop: StopRequest | None = None,
        workers: Workers | None = None,
    ):
        """Prepares the checkpoints of a compiled model.

        Args:
            model: compiled, so that both optimizers are built; otherwise their state would be lost.
            folder: where they are kept.
            keep: number of most recent checkpoints to keep, at least 1.
            minutes: time between two checkpoints in an epoch; 0 = one after every step.
            digest: of the settings; a checkpoint with another one is rejected.
            stop: where signals are noted; when one has come to any worker, all write a checkpoint and stop.
            workers: by default those of the model's strategy.

        Raises:
            UserError: keep or minutes is out of range.
        """
        super().__init__()
        if keep < 1 or minutes < 0:
            raise UserError(f"keep must be at least 1 and minutes at least 0, got {keep} and {minutes}")
        self.set_model(model)
        self._folder, self._seconds, self._digest = CheckpointFolder(folder, keep), minutes * 60, digest
        self._stop, self._workers = stop or StopRequest(), workers or Workers(model.distribute_strategy)
        self._stateful: Sequence = ()
        self._pending: Checkpoint | None = None
        self._unwritten: OSError | None = None
        self._written_at = time.monotonic()
        self.position, self.stopped_early = Position(), False

    def follow(self, callbacks: Sequence) -> None:
        """Names the callbacks whose state is kept too; called by `fit_resumably`."""
        self._stateful = callbacks

    def restore(self) -> bool:
        """Restores the newest whole checkpoint; returns whether there was one.

        The metrics of the epoch under way and the state of callbacks are restored when training begins.

        Raises:
            UserError: it was written with other settings or for another model, or all checkpoints are damaged.
        """
        checkpoint = self._workers.collectives.from_chief(
            self._read_newest,
            encode=lambda checkpoint: checkpoint.to_bytes() if checkpoint else b"",
            decode=lambda content: Checkpoint.from_bytes(content) if content else None,
        )
        if checkpoint is None:
            return False
        restore_variables(self.model, checkpoint.tensors, False, self._workers.collectives)
        self._pending = checkpoint
        self.position = checkpoint.position
        self.stopped_early = checkpoint.metadata.get("stopped_early") is True
        return True

    def _read_newest(self) -> Checkpoint | None:
        checkpoint = self._folder.newest_whole()
        if checkpoint is None:
            return None
        if checkpoint.metadata.get("digest") != self._digest:
            raise UserError(
                f"the checkpoints in {self._folder.path} were written with other settings; choose another --workdir"
            )
        before, now = checkpoint.metadata.get("replicas", 1), self._workers.replicas
        if checkpoint.position.step and before != now:
            raise UserError(
                f"the newest checkpoint in {self._folder.path} was written in the middle of an epoch on {before} "
                f"device(s); this run has {now}, and the epoch's metrics are kept per device. Resume on {before}, or "
                "with --fork=NEWDIR from that epoch's beginning."
            )
        if difference := environment_difference(checkpoint.metadata.get("environment"), environment()):
            warnings.warn(
                f"resuming in another environment ({difference}): the last digits of what follows may differ from an "
                "uninterrupted run's",
                stacklevel=2,
            )
        return checkpoint

    def save(self) -> None:
        """Writes a checkpoint of where training is; warns if that fails, since training can continue without it.

        All workers must call it.

        Raises:
            UserError: weights are no longer finite.
        """
        if not networks_are_finite(self.model):
            raise UserError(
                f"weights are not finite after step {self.position.step} of epoch {self.position.epoch + 1}; the "
                "checkpoint before is kept. Lower --config.learning_rate, or look for broken images or labels."
            )
        callbacks, arrays = capture_callbacks(self._stateful)
        variables = capture_variables(self.model, self._workers.collectives)
        metadata = {
            "digest": self._digest,
            "stopped_early": self.model.stop_training,
            "callbacks": callbacks,
            "replicas": self._workers.replicas,
            "environment": environment(),
        }
        checkpoint = Checkpoint(self.position, {**variables, **arrays}, metadata)
        try:
            if self._workers.is_chief:
                self._folder.write(checkpoint)
            self._unwritten = None
        except OSError as error:
            self._unwritten = error
            warnings.warn(
                f"no checkpoint could be written to {self._folder.path}: {error.strerror}; training continues and "
                "tries again",
                stacklevel=2,
            )
        self._written_at = time.monotonic()

    def save_progress(self) -> None:
        """Writes a checkpoint as `save` does, unless the newest one is of this very step; for a process by itself."""
        if self._folder.names()[:1] != [self.position.folder_name]:
            self.save()

    def on_train_begin(self, logs=None):
        """Restores the callbacks, whose own on_train_begin has just reset them."""
        if self._pending is not None:
            restore_callbacks(self._stateful, self._pending.metadata.get("callbacks", ()), self._pending.tensors)
        self._written_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Stops if asked to; restores metrics and callbacks if training resumes in the middle of this epoch."""
        self._stop_if_asked()
        self._steps_before = self.position.step
        if self._pending is not None and self.position.step:
            restore_variables(self.model, self._pending.tensors, True, self._workers.collectives)
            restore_callbacks(self._stateful, self._pending.metadata.get("callbacks", ()), self._pending.tensors)
        self._pending = None

    def on_train_batch_end(self, batch, logs=None):
        """Writes a checkpoint, on all workers, if one is due or a signal has come; not after an epoch's last step."""
        self.position = Position(self.position.epoch, self._steps_before + batch + 1)
        if batch + 1 >= self.params["steps"] or self.model.stop_training:
            return  # on_epoch_end follows and writes one
        signum, due = self._workers.agree(self._stop, time.monotonic() - self._written_at >= self._seconds)
        if due or signum is not None:
            self.save()
        self._stop_for(signum)

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint; by now the sampler is in the next epoch."""
        self.position = Position(epoch + 1)
        self.save()

    def on_train_end(self, logs=None):
        """Stops if asked to.

        Raises:
            UserError: the last checkpoint could not be written.
        """
        with self._workers.rejecting_together():
            self._fail_if_unwritten()
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        signum, _ = self._workers.agree(self._stop)
        self._stop_for(signum)

    def _stop_for(self, signum: int | None) -> None:
        if signum is not None:
            self._fail_if_unwritten()
            raise Stopped(signum)

    def _fail_if_unwritten(self) -> None:
        if self._unwritten is not None:
            raise UserError(
                f"the last checkpoint could not be written to {self._folder.path}: {self._unwritten.strerror}. Make "
                "room or fix the folder; the same command resumes from the checkpoint before it."
            )
