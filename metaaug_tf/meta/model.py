"""MetaAugment: a Keras model that trains a classifier and its augmentation policy together."""

import contextlib
import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from metaaug_tf.errors import UserError
from metaaug_tf.meta import checks
from metaaug_tf.meta.choices import MetaSettings
from metaaug_tf.meta.forward import FunctionalTask
from metaaug_tf.meta.gradient import GradientMethod
from metaaug_tf.meta.health import PolicyHealth
from metaaug_tf.meta.loop import InputClock, Logs, TrainingSteps, make_loop, uses_xla
from metaaug_tf.meta.losses import check_loss, complete_class_weight, output_factor, per_sample_loss
from metaaug_tf.meta.step import MetaStep, StepResult, TrainingBatch, make_step
from metaaug_tf.policy.memory import SampleMemory
from metaaug_tf.policy.network import PolicyNetwork, build_on
from metaaug_tf.policy.sampler import PairSampler, with_sampler_update
from metaaug_tf.tasks.features import with_features


class _Default(enum.Enum):
    """Stands for an argument that was left out where None means something else."""

    POLICY = "PolicyNetwork(identity_odds=sampler.identity_odds)"


@keras.saving.register_keras_serializable("metaaug_tf")
class MetaAugment(keras.Model):
    """Wraps a classifier so that `fit` also learns which augmentation helps which image (method.md).

    The Keras side of training: arguments, metrics, the loop, files. What a step computes is meta_step's.

    fit takes what `training_dataset` and `training_batches` yield: (inputs, labels) or (inputs, labels,
    sample_weight), where inputs is a dict of `images` [B, H, W, C], `pairs` int32 [B, 2], `magnitudes` float32
    [B, 2], `validation_images` [M, H, W, C] and `validation_labels`. evaluate, predict and calls act on the task
    network alone. model.save and keras.models.load_model keep all of it, both optimizers and the sampler too.

    Attributes:
        task: the user's classifier.
        policy_network: weights augmented images, or None: every image counts the same.
        sampler: the distribution that pairs are drawn from; also holds the epoch.
        memory: what is remembered of each training image, or None.
        feature_layer: name of the layer whose output is the feature vector, or None.
        compile_settings: the MetaSettings given to compile(), None before.
        policy_optimizer: the policy network's, from compile().
        input_clock: measures how long steps wait for their batch.
    """

    def __init__(
        self,
        task: keras.Model,
        policy_network: keras.Model | _Default | None = _Default.POLICY,
        sampler: PairSampler | None = None,
        feature_layer: str | None = None,
        memory: SampleMemory | None = None,
        **kwargs: Any,
    ) -> None:
        """Wraps the classifier; its variables are shared, not copied.

        Args:
            task: functional or built Sequential Keras classifier whose last layer is Dense.
            policy_network: (features [B, F], embedding [B, 28]) -> weights [B]; by default a PolicyNetwork
                with the sampler's identity_odds; None trains with equal weights, for comparison.
            sampler: by default a PairSampler().
            feature_layer: name of the layer whose output is the feature vector, where that is not the input of
                the last Dense layer.
            memory: ma.SampleMemory.of(train, classes): makes the evidence that the policy network sees a mean over the
                visits of an image; without it, it is of the present batch alone.
            **kwargs: keras.Model's.

        Raises:
            UserError: no feature vector can be found, the task has no trainable variable, or the policy network
                was made for another initial distribution of the sampler.
        """
        kwargs.setdefault("name", "meta_augment")
        super().__init__(**kwargs)
        # Within FunctionalTask the view of the network is out of Keras's sight, which else lists every layer twice.
        functional_task = FunctionalTask(with_features(task, feature_layer))  # a network not built yet fails here
        checks.check_trainable(task)
        self.task, self._functional_task = task, functional_task
        self.feature_layer = feature_layer
        self.sampler = sampler or PairSampler()
        if policy_network is _Default.POLICY:
            policy_network = PolicyNetwork(identity_odds=self.sampler.identity_odds)
        checks.check_policy_network(policy_network)
        checks.check_same_identity_odds(policy_network, self.sampler)
        self.policy_network: Any = policy_network
        self.memory = memory
        if self.policy_network is not None:
            build_on(self.policy_network, self.feature_width)
        self._health = PolicyHealth()
        self._steps: TrainingSteps | None = None
        self.compile_settings: MetaSettings | None = None
        self._compiled_variables: tuple[int, ...] | None = None  # their ids
        self._evaluating = False
        self.input_clock = InputClock()
        self.built = True

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str = "sgd",
        policy_optimizer: keras.optimizers.Optimizer | str = "adam",
        loss: keras.losses.Loss | Callable | str | None = None,
        metrics: list | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training.

        Args:
            optimizer: any Keras optimizer for the task network.
            policy_optimizer: any Keras optimizer for the policy network.
            loss: one loss with a value for every sample: a keras.losses.Loss, function or name.
            metrics: as in Keras; they see the augmented training images in fit.
            **kwargs: meta_gradient, meta_every, policy_warmup_steps, normalise_weights, weighting,
                inner_learning_rate and jit_compile, which meta.choices.MetaSettings explains; the others are
                keras.Model.compile's, such as run_eagerly and steps_per_execution.

        Raises:
            UserError: an argument out of its range, a loss without a value for every sample, a task without
                trainable variables, or the mixed_float16 dtype policy.
        """
        checks.check_trainable(self.task)
        names = {field.name for field in dataclasses.fields(MetaSettings)}
        settings = MetaSettings(**{name: kwargs.pop(name) for name in names & set(kwargs)})
        checks.check_steps_per_execution(kwargs.get("steps_per_execution", 1))
        factor = output_factor(kwargs.get("loss_weights"))
        functional_task = FunctionalTask(self._functional_task.network, per_sample_loss(loss, factor))
        check_loss(loss, functional_task.loss_of, self.task.outputs[0], factor)
        with self.distribute_strategy.scope():
            self._compile_optimizers(optimizer, policy_optimizer)
            jit_compile = uses_xla(settings.jit_compile, self.distribute_strategy) and not kwargs.get("run_eagerly")
            kwargs["auto_scale_loss"] = False
            super().compile(self.optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, **kwargs)
        step = make_step(self, functional_task, loss, settings, self._health)
        self.compile_settings, self._steps = settings, TrainingSteps(step, self._report)

    def _compiled_steps(self) -> TrainingSteps:
        if self._steps is None:
            raise UserError("the model is not compiled; call compile() first")
        return self._steps

    @property
    def meta_step(self) -> MetaStep:
        """The training step that compile() made; UserError before."""
        return self._compiled_steps().step

    @property
    def _on_several_replicas(self) -> bool:
        return self.distribute_strategy.num_replicas_in_sync > 1

    def _compile_optimizers(
        self, optimizer: keras.optimizers.Optimizer | str, policy_optimizer: keras.optimizers.Optimizer | str
    ) -> None:
        # Both are built now, each on its own variables: restoring a checkpoint into an optimizer that is not
        # built yet, or built on both networks, would lose its state with only a warning.
        self.optimizer, self.policy_optimizer = keras.optimizers.get(optimizer), keras.optimizers.get(policy_optimizer)
        checks.check_no_loss_scaling(self.task, self.optimizer, self.policy_optimizer)
        checks.check_one_optimizer(self.optimizer, self.policy_optimizer)
        if self._on_several_replicas:
            checks.check_works_on_replicas(self.optimizer, self.policy_optimizer)
        self.optimizer.build(self.task.trainable_variables)
        self._compiled_variables = tuple(id(variable) for variable in self.task.trainable_variables)
        if self.policy_network is not None:
            self.policy_optimizer.build(self.policy_network.trainable_variables)
        owners = {"the task model": self.task, "the policy network": self.policy_network, "the sampler": self.sampler}
        owners |= {
            "the memory": self.memory,
            "the optimizer": self.optimizer,
            "the policy's optimizer": self.policy_optimizer,
        }
        checks.check_created_in_scope(self.distribute_strategy, owners)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` makes the model from: both networks, the sampler, the layer of features."""
        parts = {"task": self.task, "policy_network": self.policy_network, "sampler": self.sampler}
        parts |= {"memory": self.memory} if self.memory else {}
        config = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**config, "feature_layer": self.feature_layer, "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "MetaAugment":
        """Creates the model from `get_config`; Keras loads the weights afterwards."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns what `compile_from_config` compiles the model from."""
        config = super().get_compile_config()
        if not config or self.compile_settings is None:
            return config
        policy_optimizer = keras.saving.serialize_keras_object(self.policy_optimizer)
        return {**config, **dataclasses.asdict(self.compile_settings), "policy_optimizer": policy_optimizer}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Calls compile() with what `get_compile_config` gave; builds both optimizers, so that Keras can load them."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the task network's predictions [B, classes] for images [B, H, W, C]."""
        return self.task(images, training=training)

    def features(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the feature vectors [B, F] that the policy network sees of images [B, H, W, C]."""
        return self._functional_task.network(images, training=training)[1]

    @property
    def feature_width(self) -> int:
        """F, the length of the feature vectors."""
        return self._functional_task.network.outputs[1].shape[-1]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Keras's metrics; in training also those of the policy."""
        metrics = super().metrics
        return metrics if self.policy_network is None or self._evaluating else metrics + self._health.metrics

    def fit(
        self,
        x: Any = None,
        *args: Any,
        callbacks: Any = None,
        shuffle: bool = False,
        class_weight: Mapping[int, float] | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as keras.Model.fit; the sampler is updated at each epoch's end, before the callbacks given see it.

        Args:
            x: what `training_dataset` or `training_batches` yields; it shuffles by itself, so `shuffle` is off.
            *args: Keras's.
            callbacks: as in Keras.
            shuffle: as in Keras.
            class_weight: {class index: factor on the loss of its images}; a class not named has 1.
            **kwargs: Keras's.

        Raises:
            UserError: other data, a key of class_weight that is no class, or layers frozen or unfrozen since compile().
        """
        checks.check_training_data(x, {**dict(zip(("y", "batch_size"), args, strict=False)), **kwargs})
        checks.check_same_variables(self.task, self._compiled_variables)
        class_weight = complete_class_weight(class_weight, self.task.output_shape[-1])
        callbacks = with_sampler_update(callbacks, self)
        return super().fit(x, *args, callbacks=callbacks, shuffle=shuffle, class_weight=class_weight, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the task network as keras.Model.evaluate."""
        with self._own_metrics_left_out():
            return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the task network on one batch as keras.Model.test_on_batch."""
        with self._own_metrics_left_out():
            return super().test_on_batch(*args, **kwargs)

    @contextlib.contextmanager
    def _own_metrics_left_out(self) -> Iterator[None]:
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def export(self, filepath: str, *args: Any, **kwargs: Any) -> Any:
        """Exports the task network, which is what predict computes; arguments as in keras.Model.export."""
        return self.task.export(filepath, *args, **kwargs)

    def train_step(self, data: tuple[Any, ...]) -> Logs:
        """Takes one step of method.md, with or without the policy's update as its turn is; returns the metrics.

        Raises:
            UserError: not every step updates the policy and the step is one of several replicas'.
        """
        return self._compiled_steps().take_next(data)

    def _report(self, batch: TrainingBatch, result: StepResult) -> Logs:
        """Updates the metrics after a step and returns them."""
        # Creates the metrics' variables where they are not yet: under the control dependency below they would depend
        # on the batch, and tf.function could not create them before it runs.
        with keras.StatelessScope():
            self.compute_metrics(None, batch.labels, result.predictions, batch.sample_weight)
        with tf.control_dependencies([result.losses]):  # where there is no batch, nothing is counted
            self._loss_tracker.update_state(result.loss)
            return self.compute_metrics(None, batch.labels, result.predictions, batch.sample_weight)

    def policy_gradients(self, data: tuple[Any, ...], method: GradientMethod) -> list[tf.Tensor]:
        """Returns MetaStep.policy_gradients on data as train_step takes it; changes nothing."""
        return self.meta_step.policy_gradients(TrainingBatch.from_data(data), method)

    def make_train_function(self, force: bool = False) -> Callable:
        """Builds what fit calls for every batch (see meta/loop.py)."""
        if getattr(self, "train_function", None) is None or force:
            self.train_function = self._compiled_steps().train_function(self, self.input_clock.next)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable:
        """Builds what evaluate calls for every batch; on several replicas by our own loop (see meta/loop.py)."""
        if not self._on_several_replicas:
            return super().make_test_function(force)
        if getattr(self, "test_function", None) is None or force:
            self.test_function = make_loop(self, [self.test_step])
        return self.test_function

    def build_metrics(self, batch_spec: Any) -> None:
        """Builds the metrics given to compile(), which Keras else does in the first step, too late for replicas.

        Args:
            batch_spec: a dataset's element_spec, (inputs, labels) or (inputs, labels, sample_weight).
        """
        _, labels, weights = keras.utils.unpack_x_y_sample_weight(batch_spec)
        labels, weights = (None if spec is None else _one_example(spec) for spec in (labels, weights))
        predictions = tf.zeros([1, *self.task.output_shape[1:]], self.task.outputs[0].dtype)
        with self.distribute_strategy.scope(), keras.StatelessScope():
            self.compute_metrics(None, labels, predictions, weights)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds the metrics; Keras would also call the model with the training dict, which the task can't take."""
        if self._on_several_replicas and iterator is not None:
            self.build_metrics(iterator.data_adapter.get_tf_dataset().element_spec)


def _one_example(spec: Any) -> tf.Tensor:
    """Returns zeros as a dataset yields them, for a tf.TensorSpec or what a distributed dataset has in its place."""
    spec = getattr(spec, "_value_specs", [spec])[0]
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)
