"""Checkpoints of everything a run needs to go on: both networks, both optimizers, the sampler, random states."""

from pathlib import Path

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment


class Checkpoints(keras.callbacks.Callback):
    """Writes a checkpoint at each epoch's end and restores the newest one."""

    def __init__(self, model: MetaAugment, folder: Path, keep: int = 2):
        """Prepares the checkpoints of a compiled model.

        Args:
            model: compiled, so that both optimizers are built; otherwise their state would be lost.
            folder: where they are kept.
            keep: how many of the newest are kept.
        """
        super().__init__()
        networks = [network for network in (model.task, model.policy_network) if network is not None]
        # Seeds of Dropout are not reached through the model, only through these lists.
        states = [list(network.non_trainable_variables) for network in networks]
        self._checkpoint = tf.train.Checkpoint(model=model, states=states)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=keep)

    def restore(self) -> bool:
        """Restores the newest checkpoint; returns whether there was one.

        Raises:
            UserError: it can't be read.
        """
        newest = self._manager.latest_checkpoint
        if newest is None:
            return False
        try:
            self._checkpoint.restore(newest).assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError, IndexError) as error:
            raise UserError(f"the checkpoint {newest} can't be restored: {str(error).splitlines()[0]}") from error
        return True

    def on_epoch_end(self, epoch, logs=None):
        """Writes a checkpoint; the sampler has turned to the next epoch by now."""
        self._manager.save(checkpoint_number=epoch + 1)
