"""Builds the model of a run from its config."""

from collections.abc import Sequence

import keras

from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.callbacks.averaging import AveragingSGD
from metaaug_tf.config import Config
from metaaug_tf.data.examples import LabelledImages
from metaaug_tf.meta.losses import SmoothedCrossEntropy
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.policy.memory import SampleMemory
from metaaug_tf.policy.network import PolicyNetwork
from metaaug_tf.policy.sampler import PairSampler
from metaaug_tf.settings import OptimizerSettings, PolicySettings
from metaaug_tf.tasks.batch_norm import synchronise_batch_norm
from metaaug_tf.tasks.registry import build_task

_JIT_COMPILE = {"auto": "auto", "True": True, "False": False}


def build_model(
    config: Config,
    classes: int,
    input_shape: Sequence[int],
    steps_per_epoch: int,
    train: LabelledImages | None = None,
) -> MetaAugment:
    """The compiled MetaAugment of a run; without a policy network unless the run's policy learns.

    Args:
        config: of the run.
        classes: number of classes.
        input_shape: (height, width, channels) of the images in pixels.
        steps_per_epoch: training steps of an epoch, for the learning rate's schedule.
        train: the training set, where the policy is to remember its images; not needed unless it is trained.

    Raises:
        UserError: the task network rejects the settings.
    """
    keras.utils.set_random_seed(config.run.seed)
    keras.config.set_dtype_policy(config.network.dtype)
    task = build_task(config.network, classes, input_shape)
    if config.network.synchronise_batch_norm:
        synchronise_batch_norm(task)
    steps, policy = config.run.epochs * steps_per_epoch, config.policy
    network = _policy_network(policy) if POLICIES[config.augmentation.policy].learns else None
    sampler = PairSampler(policy.sampler_history_epochs, policy.sampler_epsilon, policy.sampler_identity_odds)
    memory = SampleMemory.of(train, classes) if train and network is not None and network.evidence else None
    model = MetaAugment(task, network, sampler, memory=memory)
    model.compile(
        optimizer=task_optimizer(config.optimizer, steps, steps_per_epoch, task),
        policy_optimizer=keras.optimizers.Adam(policy.policy_learning_rate),
        loss=SmoothedCrossEntropy(config.optimizer.label_smoothing),
        metrics=["accuracy"],
        meta_gradient=policy.meta_gradient,
        meta_every=policy.meta_every,
        policy_warmup_steps=round(policy.policy_warmup_fraction * steps),
        normalise_weights=policy.normalise_weights,
        weighting=policy.weighting,
        jit_compile=_JIT_COMPILE[config.run.jit_compile],
    )
    return model


def _policy_network(policy: PolicySettings) -> PolicyNetwork:
    evidence = [name for name in policy.policy_evidence.split(",") if name]
    return PolicyNetwork(policy.policy_hidden_units, policy.policy_head, policy.sampler_identity_odds, evidence)


def task_optimizer(
    settings: OptimizerSettings, steps: int, steps_per_epoch: int, task: keras.Model
) -> keras.optimizers.Optimizer:
    """SGD with Nesterov momentum, linear warm-up and cosine decay to zero (method.md, "Protocols").

    settings.weight_decay is the factor of an L2 penalty, as the papers give it. Its gradient would pass through
    the momentum, which adds it up to 1 / (1 - momentum) times; Keras's decay does not, so it gets that factor.
    Scales of BatchNorm and all biases decay too (as in the CIFAR networks' own codes) if the settings say so.

    Args:
        settings: of the optimizer.
        steps: number of training steps of the run.
        steps_per_epoch: of them in an epoch.
        task: whose variables it will train.
    """
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    decay = settings.weight_decay / (1 - settings.momentum)
    averaging = {"use_ema": True, "ema_momentum": settings.ema_momentum} if settings.ema_momentum else {}
    optimizer = AveragingSGD(
        schedule, momentum=settings.momentum, nesterov=True, weight_decay=decay or None, **averaging
    )
    if not settings.decay_scales_and_biases:
        optimizer.exclude_from_weight_decay([v for v in task.trainable_variables if len(v.shape) < 2])
    return optimizer
