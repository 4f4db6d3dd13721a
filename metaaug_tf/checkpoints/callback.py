"""Checkpoints of a run: every so many minutes and at each epoch's end, everything needed to go on at the very step."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras

from metaaug_tf.checkpoints.callback_state import read_callbacks, write_callbacks
from metaaug_tf.checkpoints.folder import CheckpointFolder, Position, Saved
from metaaug_tf.checkpoints.model_state import networks_are_finite, read_state, write_state
from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.signals import Stopped, StopRequest
from metaaug_tf.workers.workers import Workers


class Checkpoints(keras.callbacks.Callback):
    """Writes checkpoints while `fit_resumably` trains, and restores the newest whole one.

    Of several workers the chief reads and writes; the others need not see its files.

    Attributes:
        position: where training is.
        stopped_early: a callback had ended the training that was restored.
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
            keep: how many of the newest are kept.
            minutes: time between two checkpoints in an epoch; 0 = one after every step.
            digest: of the settings; a checkpoint with another one is refused.
            stop: where signals are noted; when one has come to any worker, all stop after a checkpoint.
            workers: by default those of the model's strategy.
        """
        super().__init__()
        if keep < 1 or minutes < 0:
            raise UserError(f"checkpoints need keep >= 1 and minutes >= 0, not {keep} and {minutes}")
        self.set_model(model)
        self._folder, self._seconds, self._digest = CheckpointFolder(folder, keep), minutes * 60, digest
        self._stop, self._workers = stop or StopRequest(), workers or Workers(model.distribute_strategy)
        self._stateful: Sequence = ()
        self._pending: Saved | None = None
        self._unwritten: OSError | None = None
        self._written_at = time.monotonic()
        self.position, self.stopped_early = Position(), False

    def follow(self, callbacks: Sequence) -> None:
        """Names the callbacks whose state is kept too; `fit_resumably` does."""
        self._stateful = callbacks

    def restore(self) -> bool:
        """Restores the newest whole checkpoint; returns whether there was one.

        The metrics of the epoch under way and the state of callbacks follow when training begins.

        Raises:
            UserError: it is of other settings or another model, or all are damaged.
        """
        saved = self._workers.collectives.from_chief(
            self._read_newest,
            encode=lambda saved: saved.to_bytes() if saved else b"",
            decode=lambda content: Saved.from_bytes(content) if content else None,
        )
        if saved is None:
            return False
        write_state(self.model, saved.tensors, False, self._workers.collectives)
        self.position, self.stopped_early, self._pending = (
            saved.position,
            saved.facts.get("stopped_early") is True,
            saved,
        )
        return True

    def _read_newest(self) -> Saved | None:
        saved = self._folder.newest_whole()
        if saved is None:
            return None
        if saved.facts.get("digest") != self._digest:
            raise UserError(
                f"the checkpoints in {self._folder.path} were written with other settings; choose another --workdir"
            )
        before, now = saved.facts.get("replicas", 1), self._workers.replicas
        if saved.position.step and before != now:
            raise UserError(
                f"the newest checkpoint in {self._folder.path} is of the middle of an epoch that {before} device(s) "
                f"began, now there are {now}: each has its part of the epoch's metrics. Go on with {before}, or with "
                "--fork=NEWDIR from that epoch's beginning."
            )
        return saved

    def save(self) -> None:
        """Writes a checkpoint of where training is; warns where that fails, since training can go on.

        All workers have to call it.

        Raises:
            UserError: weights are not finite any more.
        """
        if not networks_are_finite(self.model):
            raise UserError(
                f"weights are not finite after step {self.position.step} of epoch {self.position.epoch + 1}; the "
                "checkpoint before is kept. Lower --config.learning_rate, or look for broken images or labels."
            )
        callbacks, arrays = read_callbacks(self._stateful)
        facts = {"digest": self._digest, "stopped_early": self.model.stop_training, "callbacks": callbacks}
        facts["replicas"] = self._workers.replicas
        saved = Saved(self.position, {**read_state(self.model, self._workers.collectives), **arrays}, facts)
        try:
            if self._workers.is_chief:
                self._folder.write(saved)
            self._unwritten = None
        except OSError as error:
            self._unwritten = error
            warnings.warn(
                f"no checkpoint could be written to {self._folder.path}: {error.strerror}; training goes on and it is "
                "tried again",
                stacklevel=2,
            )
        self._written_at = time.monotonic()

    def save_progress(self) -> None:
        """As `save`, unless the newest checkpoint is of this very step already; for a process by itself."""
        if self._folder.names()[:1] != [self.position.folder_name]:
            self.save()

    def on_train_begin(self, logs=None):
        """Gives callbacks their state back, after their own beginning."""
        if self._pending is not None:
            write_callbacks(self._stateful, self._pending.facts.get("callbacks", ()), self._pending.tensors)
        self._written_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Stops if asked to; gives metrics and callbacks back what they held in the middle of this epoch."""
        self._stop_if_asked()
        self._steps_before = self.position.step
        if self._pending is not None and self.position.step:
            write_state(self.model, self._pending.tensors, True, self._workers.collectives)
            write_callbacks(self._stateful, self._pending.facts.get("callbacks", ()), self._pending.tensors)
        self._pending = None

    def on_train_batch_end(self, batch, logs=None):
        """Writes a checkpoint when it is time or a signal has come, for all workers alike; not after the last step."""
        self.position = Position(self.position.epoch, self._steps_before + batch + 1)
        if batch + 1 >= self.params["steps"] or self.model.stop_training:
            return  # on_epoch_end is about to come
        number, due = self._workers.agree(self._stop, time.monotonic() - self._written_at >= self._seconds)
        if due or number is not None:
            self.save()
        self._stop_for(number)

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint; the sampler has turned to the next epoch by now."""
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
        number, _ = self._workers.agree(self._stop)
        self._stop_for(number)

    def _stop_for(self, number: int | None) -> None:
        if number is not None:
            self._fail_if_unwritten()
            raise Stopped(number)

    def _fail_if_unwritten(self) -> None:
        if self._unwritten is not None:
            raise UserError(
                f"the last checkpoint could not be written to {self._folder.path}: {self._unwritten.strerror}. Make "
                "room or mend the folder; the same command goes on from the checkpoint before."
            )
