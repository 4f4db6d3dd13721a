"""Training that resumes at the very step where a checkpoint was written."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.callbacks.averaging import AveragingSGD
from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.checkpoints.callback_state import check_resumable, has_state
from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder, Position
from metaaug_tf.checkpoints.model_state import MEMORY, check_variables, memory_arrays
from metaaug_tf.data.streamed_examples import input_failed
from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.workers.workers import Workers


def fit_resumably(
    model: MetaAugment,
    make_dataset: Callable[[int], tf.data.Dataset],
    checkpoints: Checkpoints,
    *,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 0,
    **fit_arguments: Any,
) -> None:
    """Runs model.fit from `checkpoints.position` on; ends as an uninterrupted run would, to the last bit.

    Keras's EarlyStopping, ReduceLROnPlateau and ModelCheckpoint continue from their state, as do callbacks of your own
    with get_state() and set_state(state). A training that a callback has ended by `model.stop_training` stays ended.

    Example:
        checkpoints = Checkpoints(model, Path("runs/x/checkpoints"))
        checkpoints.restore()
        fit_resumably(model, lambda step: training_dataset(..., first_step=step), checkpoints, epochs=30)

    Args:
        model: compiled.
        make_dataset: first step -> the rest of one epoch from there on, as `training_dataset(first_step=...)`.
        checkpoints: the model's; restored first if there may be something to restore.
        epochs: number of epochs in all, as in fit.
        callbacks: Keras callbacks; those with state must be the same ones in each part of a run.
        verbose: as in fit.
        **fit_arguments: validation_data and whatever else fit takes, apart from initial_epoch and steps_per_epoch.

    Raises:
        UserError: a callback or optimizer could not continue as if training had never been interrupted.
    """
    # The order of resuming:
    # 1. Checkpoints.restore, called before this function: networks, seeds of Dropout, sampler, optimizers. The dataset
    #    reads the sampler's epoch and table when an epoch begins, so they have to be there before it is iterated.
    # 2. begin(): on_train_begin of each callback, once. There EarlyStopping and others reset themselves; `checkpoints`
    #    comes after all callbacks with state and restores them, before the callbacks without state see them. At the
    #    end of steps and epochs it comes last: what any callback changes there (a learning rate, weights, that training
    #    stops) is in the checkpoint.
    # 3. The rest of the epoch under way, if any: a fit of its own, on a dataset that begins at the step. build_metrics
    #    makes the metrics' variables. Keras resets them just before on_epoch_begin, and callbacks start their epoch in
    #    it, so that is where `checkpoints` restores the metrics, and the callbacks once more.
    # 4. The remaining whole epochs: a second fit. _OneTraining keeps callbacks from seeing where one fit ends.
    # 5. end(): on_train_end of each callback, once.
    callbacks = list(keras.tree.flatten(list(callbacks)))
    check_resumable(callbacks)
    _reject_moving_average(model)
    stateful = [callback for callback in callbacks if has_state(callback)]
    stateless = [callback for callback in callbacks if not has_state(callback)]
    checkpoints.follow(stateful)
    params = {"verbose": verbose, "epochs": epochs, "steps": None}
    ordered = [*stateful, _beginnings_of(checkpoints), *stateless, _ends_of(checkpoints)]
    listed = _OneTraining(ordered, add_history=True, add_progbar=verbose != 0, model=model, **params)

    def fit(dataset: tf.data.Dataset, first_epoch: int, last_epoch: int) -> bool:
        """Returns whether a callback has ended training."""
        steps = _cardinality(dataset)
        listed.set_params({**params, "steps": steps})
        checkpoints.set_params(listed.params)
        steps_of_epoch = checkpoints.position.step + steps
        model.build_metrics(dataset.element_spec)
        try:
            model.fit(dataset, initial_epoch=first_epoch, epochs=last_epoch, callbacks=listed, **fit_arguments)
        except tf.errors.OpError as error:
            # Once all steps are done it was the validation's input that failed, where no checkpoint can resume.
            if input_failed(error) and checkpoints.position.step < steps_of_epoch:
                _save_what_is_whole(model, checkpoints)
            raise
        return model.stop_training

    listed.begin()
    position, stopped = checkpoints.position, checkpoints.stopped_early
    if position.step and not stopped:
        stopped = fit(make_dataset(position.step), position.epoch, position.epoch + 1)
    first_whole = position.epoch + bool(position.step)
    if first_whole < epochs and not stopped:
        fit(make_dataset(0), first_whole, epochs)
    listed.end()


def _beginnings_of(checkpoints: Checkpoints) -> keras.callbacks.Callback:
    """Where training and epochs begin, which is where `checkpoints` restores."""
    return keras.callbacks.LambdaCallback(
        on_train_begin=checkpoints.on_train_begin, on_epoch_begin=checkpoints.on_epoch_begin
    )


def _ends_of(checkpoints: Checkpoints) -> keras.callbacks.Callback:
    """Where steps, epochs and training end, which is where `checkpoints` writes."""
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=checkpoints.on_train_batch_end,
        on_epoch_end=checkpoints.on_epoch_end,
        on_train_end=checkpoints.on_train_end,
    )


def _cardinality(dataset: Any) -> int:
    """Number of batches, of a tf.data.Dataset or a tf.distribute.DistributedDataset, where it is no method."""
    cardinality = dataset.cardinality
    return int(cardinality() if callable(cardinality) else cardinality)


class _OneTraining(keras.callbacks.CallbackList):
    """Callbacks for which the rest of an epoch and the epochs after it are one training."""

    def begin(self):
        super().on_train_begin()

    def end(self):
        super().on_train_end()

    def on_train_begin(self, logs=None):
        """Nothing: Keras calls it in each fit."""

    def on_train_end(self, logs=None):
        """Nothing: Keras calls it in each fit."""


def _save_what_is_whole(model: MetaAugment, checkpoints: Checkpoints) -> None:
    """Writes a checkpoint after a step that got no input: the step did not begin, so all is as after the one before it.

    Not with several steps an execution, as some of them may be done, nor with other workers, which wait in the step.
    """
    if model.steps_per_execution == 1 and Workers(model.distribute_strategy).count == 1:
        checkpoints.save_progress()


def _reject_moving_average(model: MetaAugment) -> None:
    for optimizer in (model.optimizer, model.policy_optimizer):
        if optimizer.use_ema and not isinstance(optimizer, AveragingSGD):
            raise UserError(
                f"{type(optimizer).__name__} with use_ema=True overwrites the weights when training ends, so that "
                "training could not resume from there; leave use_ema out. The command line's --config.ema_momentum "
                "keeps averages in a way that can resume."
            )


def read_fork(model: MetaAugment, source: RunFolder, digest: str) -> Checkpoint:
    """Returns the newest whole checkpoint of `source` as the first one of a run with other settings.

    The place within an epoch may mean nothing with other settings, so that epoch starts again, with the weights as
    they are. The images may be others, so nothing is remembered of them.

    Args:
        model: compiled, of the new run.
        source: the run to continue.
        digest: of the new run's settings.

    Raises:
        UserError: there is no checkpoint, none is whole, or the model differs.
    """
    source.read_config()
    newest = CheckpointFolder(source.checkpoints).newest_whole()
    if newest is None:
        raise UserError(f"{source.path} has no checkpoint to resume from yet; leave --fork out")
    tensors = {name: array for name, array in newest.tensors.items() if not name.startswith(f"{MEMORY}/")}
    tensors |= memory_arrays(model)
    check_variables(model, tensors)
    metadata = {**newest.metadata, "digest": digest, "stopped_early": False}
    return Checkpoint(Position(newest.position.epoch), tensors, metadata)
