"""Builds the model of a run from its config."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from metaaug_tf.callbacks.averaging import AveragingSGD
from metaaug_tf.meta.losses import SmoothedCrossEntropy
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.network import PolicyNetwork
from metaaug_tf.policy.sampler import PairSampler
from metaaug_tf.tasks.batch_norm import synchronise_batch_norm
from metaaug_tf.tasks.registry import build_task


def build_model(
    config: Mapping[str, Any], classes: int, input_shape: Sequence[int], steps_per_epoch: int
) -> MetaAugment:
    """The compiled MetaAugment of a run; without policy network unless config["policy"] is metaaugment.

    Args:
        config: the resolved config.
        classes: number of classes.
        input_shape: (height, width, channels) of the images.
        steps_per_epoch: training steps of an epoch, for the learning rate's schedule.

    Raises:
        UserError: the task network refuses the settings.
    """
    keras.utils.set_random_seed(config["seed"])
    keras.config.set_dtype_policy(config["dtype"])
    task = build_task(config, classes, input_shape)
    if config["synchronise_batch_norm"]:
        synchronise_batch_norm(task)
    policy_network, odds = None, config["sampler_identity_odds"]
    if config["policy"] == "metaaugment":
        policy_network = PolicyNetwork(config["policy_hidden_units"], config["policy_head"], odds)
    sampler = PairSampler(config["sampler_history_epochs"], config["sampler_epsilon"], odds)
    model = MetaAugment(task, policy_network, sampler)
    model.compile(
        optimizer=task_optimizer(config, steps_per_epoch, task),
        policy_optimizer=keras.optimizers.Adam(config["policy_learning_rate"]),
        loss=SmoothedCrossEntropy(config["label_smoothing"]),
        metrics=["accuracy"],
        meta_gradient=config["meta_gradient"],
        meta_every=config["meta_every"],
        policy_warmup_steps=round(config["policy_warmup_fraction"] * config["epochs"] * steps_per_epoch),
        normalise_weights=config["normalise_weights"],
        weighting=config["weighting"],
        jit_compile={"auto": "auto", "True": True, "False": False}[config["jit_compile"]],
    )
    return model


def task_optimizer(config: Mapping[str, Any], steps_per_epoch: int, task: keras.Model) -> keras.optimizers.Optimizer:
    """SGD with Nesterov momentum, linear warm-up and cosine decay to zero (method.md, "Protocols").

    config["weight_decay"] is the factor of an L2 penalty, as the papers give it. Its gradient would pass through
    the momentum, which adds it up to 1 / (1 - momentum) times; Keras's decay does not, so it gets that factor.
    Scales of BatchNorm and all biases decay too (as in the CIFAR networks' own codes) if the config says so.
    """
    warmup = round(config["warmup_epochs"] * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else config["learning_rate"],
        decay_steps=max(1, config["epochs"] * steps_per_epoch - warmup),
        warmup_target=config["learning_rate"] if warmup else None,
        warmup_steps=warmup,
    )
    decay = config["weight_decay"] / (1 - config["momentum"])
    averaging = {"use_ema": True, "ema_momentum": config["ema_momentum"]} if config["ema_momentum"] else {}
    optimizer = AveragingSGD(
        schedule, momentum=config["momentum"], nesterov=True, weight_decay=decay or None, **averaging
    )
    if not config["decay_scales_and_biases"]:
        optimizer.exclude_from_weight_decay([v for v in task.trainable_variables if len(v.shape) < 2])
    return optimizer
