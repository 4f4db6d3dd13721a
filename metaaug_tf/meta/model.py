"""MetaAugment: a Keras model that trains a classifier and its augmentation policy together."""

import keras
import tensorflow as tf

from metaaug_tf.augmentation.transform import transformation_embedding
from metaaug_tf.meta.checks import (
    check_start,
    check_steps,
    check_training_data,
    refuse_frozen,
    refuse_hidden_branches,
    refuse_loss_scaling,
    refuse_other_scope,
    refuse_thawed,
)
from metaaug_tf.meta.forward import FunctionalTask
from metaaug_tf.meta.gradient import find_method
from metaaug_tf.meta.health import PolicyHealth
from metaaug_tf.meta.loop import InputClock, make_loop
from metaaug_tf.meta.losses import check_loss, complete_class_weight, per_sample_loss
from metaaug_tf.meta.step import MetaStep
from metaaug_tf.meta.weights import find_weighting
from metaaug_tf.policy.network import PolicyNetwork
from metaaug_tf.policy.sampler import PairSampler, SamplerUpdate
from metaaug_tf.tasks.features import with_features

DEFAULT_POLICY = "default"


@keras.saving.register_keras_serializable("metaaug_tf")
class MetaAugment(MetaStep):
    """Wraps a classifier so that `fit` also learns which augmentation helps which image (method.md).

    fit takes what `training_dataset` and `training_batches` yield: (inputs, labels) or (inputs, labels,
    sample_weight), where inputs is a dict of `images` [B, H, W, C], `pairs` int32 [B, 2], `magnitudes` float32
    [B, 2], `validation_images` [M, H, W, C] and `validation_labels`. evaluate, predict and calls act on the task
    network alone. model.save and keras.models.load_model keep all of it, both optimizers and the sampler too.

    Attributes:
        task: the user's classifier.
        policy_network: weighs augmented images, or None: every image counts the same.
        sampler: the table that pairs are drawn from; also holds the number of the epoch.
        feature_layer: name of the layer whose output is the feature vector, or None.
        compile_settings: the arguments of compile() that are not Keras's own, but the policy optimizer.
    """

    def __init__(self, task, policy_network=DEFAULT_POLICY, sampler=None, feature_layer=None, **kwargs):
        """Wraps the classifier; its variables are shared, not copied.

        Args:
            task: functional or built Sequential Keras classifier whose last layer is Dense.
            policy_network: (features [B, F], embedding [B, 28]) -> weights [B]; by default a PolicyNetwork
                with the sampler's identity_odds; None trains with equal weights, for comparison.
            sampler: by default a PairSampler().
            feature_layer: name of the layer whose output is the feature vector, where that is not the input of
                the last Dense layer.
            **kwargs: keras.Model's.

        Raises:
            UserError: no feature vector can be found, the task has no trainable variable, or the policy network
                was made for another start of the sampler.
        """
        kwargs.setdefault("name", "meta_augment")
        super().__init__(**kwargs)
        refuse_frozen(task)
        self.task = task
        # Within FunctionalTask the view of the network is out of Keras's sight, which else lists every layer twice.
        self._task, self.feature_layer = FunctionalTask(with_features(task, feature_layer)), feature_layer
        self.sampler = sampler or PairSampler()
        if policy_network == DEFAULT_POLICY:
            policy_network = PolicyNetwork(identity_odds=self.sampler.identity_odds)
        check_start(policy_network, self.sampler)
        self.policy_network = policy_network
        if self.policy_network is not None:
            embedding = transformation_embedding([[0, 0]], [[0.0, 0.0]])
            self.policy_network(tf.zeros((1, self.feature_width)), embedding)  # builds it
        self._health = PolicyHealth() if self.policy_network is not None else None
        self._evaluating, self._compiled_variables = False, None
        self.input_clock = InputClock()
        self.built = True

    def compile(
        self,
        optimizer="sgd",
        policy_optimizer="adam",
        loss=None,
        metrics=None,
        meta_gradient="exact",
        meta_every=1,
        policy_warmup_steps=0,
        normalise_weights=True,
        weighting="learned",
        inner_learning_rate=None,
        jit_compile="auto",
        **kwargs,
    ):
        """Configures training; the arguments not named here are keras.Model.compile's.

        Args:
            optimizer: any Keras optimizer for the task network.
            policy_optimizer: any Keras optimizer for the policy network.
            loss: one loss with a value for every sample: a keras.losses.Loss, function or name.
            metrics: as in Keras; they see the augmented training images in fit.
            meta_gradient: how the meta-gradient is taken, a name in meta.choices.METHODS.
            meta_every: the policy is updated every so many steps; its weights count in every step.
            policy_warmup_steps: so many first steps leave the policy as it is, and cost as little as plain ones: what
                the features of an untrained network tell of an image would only mislead it.
            normalise_weights: weights sum to 1 over the batch; otherwise they are divided by the batch size.
            weighting: a name in meta.choices.WEIGHTINGS: what becomes of the learned weights in the task's update.
            inner_learning_rate: alpha of the virtual update; by default the task optimizer's present rate.
            jit_compile: compile the step with XLA (on one replica); "auto" does where there is a GPU. On a CPU
                TensorFlow's own convolutions are quicker than XLA's (docs/meta-gradient.md).
            **kwargs: run_eagerly, steps_per_execution.

        Raises:
            UserError: an argument out of its range, a loss without a value for every sample, a task without
                trainable variables, or the mixed_float16 dtype policy.
        """
        refuse_frozen(self.task)
        check_steps(meta_every, policy_warmup_steps)
        self._method, self._meta_every = find_method(meta_gradient), meta_every
        self._policy_warmup_steps = policy_warmup_steps
        self._task = FunctionalTask(self._task.network, per_sample_loss(loss))
        check_loss(self._task.loss_of, self.task.outputs[0])
        self._weighting = find_weighting(weighting)
        self._normalise, self._inner_learning_rate = normalise_weights, inner_learning_rate
        self.compile_settings = dict(
            meta_gradient=meta_gradient,
            meta_every=meta_every,
            policy_warmup_steps=policy_warmup_steps,
            normalise_weights=normalise_weights,
            weighting=weighting,
            inner_learning_rate=inner_learning_rate,
            jit_compile=jit_compile,
        )
        with self.distribute_strategy.scope():
            self._compile_optimizers(optimizer, policy_optimizer)
            if jit_compile == "auto":
                jit_compile = bool(tf.config.list_logical_devices("GPU"))
            # XLA can't compile a step whose variables are on several devices: docs/distribution.md.
            jit_compile = jit_compile and not kwargs.get("run_eagerly") and not self._on_several_replicas
            super().compile(
                self.optimizer, loss=loss, metrics=metrics, jit_compile=jit_compile, auto_scale_loss=False, **kwargs
            )

    @property
    def _on_several_replicas(self) -> bool:
        return self.distribute_strategy.num_replicas_in_sync > 1

    def _compile_optimizers(self, optimizer, policy_optimizer) -> None:
        # Both are built now, each on its own variables: restoring a checkpoint into an optimizer that is not
        # built yet, or built on both networks, would lose its state with only a warning.
        self.optimizer, self.policy_optimizer = keras.optimizers.get(optimizer), keras.optimizers.get(policy_optimizer)
        refuse_loss_scaling(self.task, self.optimizer, self.policy_optimizer)
        if self._on_several_replicas:
            refuse_hidden_branches(self.optimizer, self.policy_optimizer)
        self.optimizer.build(self.task.trainable_variables)
        self._compiled_variables = tuple(id(variable) for variable in self.task.trainable_variables)
        if self.policy_network is not None:
            self.policy_optimizer.build(self.policy_network.trainable_variables)
        owners = {"the task model": self.task, "the policy network": self.policy_network, "the sampler": self.sampler}
        owners |= {"the optimizer": self.optimizer, "the policy's optimizer": self.policy_optimizer}
        refuse_other_scope(self.distribute_strategy, {name: owner.variables for name, owner in owners.items() if owner})

    def get_config(self):
        """From which `from_config` makes the model again: both networks, the sampler, the layer of features."""
        parts = {"task": self.task, "policy_network": self.policy_network, "sampler": self.sampler}
        config = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**config, "feature_layer": self.feature_layer, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model from `get_config`; Keras loads the weights afterwards."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))

    def get_compile_config(self):
        """From which `compile_from_config` compiles the model again."""
        config = super().get_compile_config()
        if not config:
            return config
        policy_optimizer = keras.saving.serialize_keras_object(self.policy_optimizer)
        return {**config, **self.compile_settings, "policy_optimizer": policy_optimizer}

    def compile_from_config(self, config):
        """compile() with what `get_compile_config` gave; builds both optimizers, so that their state can be loaded."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def call(self, images, training=False):
        """The task network's predictions [B, classes]."""
        return self.task(images, training=training)

    def features(self, images, training=False):
        """The feature vectors [B, F] that the policy network sees."""
        return self._task.network(images, training=training)[1]

    @property
    def feature_width(self) -> int:
        """F, the length of the feature vectors."""
        return self._task.network.outputs[1].shape[-1]

    @property
    def metrics(self):
        """Keras's metrics; in training also those of the policy."""
        metrics = super().metrics
        return metrics if self._health is None or self._evaluating else metrics + self._health.metrics

    def fit(self, x=None, *args, callbacks=None, shuffle=False, class_weight=None, **kwargs):
        """keras.Model.fit; the sampler is updated at each epoch's end, before the callbacks given see it.

        Args:
            x: what `training_dataset` or `training_batches` yields; it shuffles by itself, so `shuffle` is off.
            *args: Keras's.
            callbacks: as in Keras.
            shuffle: as in Keras.
            class_weight: {class index: factor on the loss of its images}; a class not named has 1.
            **kwargs: Keras's.

        Raises:
            UserError: other data, a class that there is not, or layers frozen or set free since compile().
        """
        check_training_data(x)
        refuse_thawed(self.task, self._compiled_variables)
        class_weight = complete_class_weight(class_weight, self.task.output_shape[-1])
        if isinstance(callbacks, keras.callbacks.CallbackList):
            given = callbacks.callbacks
        else:
            given = callbacks = list(tf.nest.flatten(callbacks or []))
        if not any(isinstance(callback, SamplerUpdate) for callback in given):
            given.insert(0, SamplerUpdate())
            given[0].set_model(self)
        return super().fit(x, *args, callbacks=callbacks, shuffle=shuffle, class_weight=class_weight, **kwargs)

    def evaluate(self, *args, **kwargs):
        """keras.Model.evaluate of the task network."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def make_train_function(self, force=False):
        """Builds what fit calls for every batch (see meta/loop.py)."""
        if getattr(self, "train_function", None) is None or force:
            kinds = self._kinds_of_step()
            turn = self._turn if len(kinds) > 1 else None
            self.train_function = make_loop(self, kinds, self.input_clock.next, turn)
        return self.train_function

    def make_test_function(self, force=False):
        """Builds what evaluate calls for every batch; on several replicas by our own loop (see meta/loop.py)."""
        if not self._on_several_replicas:
            return super().make_test_function(force)
        if getattr(self, "test_function", None) is None or force:
            self.test_function = make_loop(self, [self.test_step])
        return self.test_function

    def build_metrics(self, batch_spec) -> None:
        """Builds the metrics given to compile(), which Keras else does in the first step, too late for replicas.

        Args:
            batch_spec: a dataset's element_spec, (inputs, labels) or (inputs, labels, sample_weight).
        """
        _, labels, weights = keras.utils.unpack_x_y_sample_weight(batch_spec)
        labels, weights = (None if spec is None else _one_example(spec) for spec in (labels, weights))
        predictions = tf.zeros([1, *self.task.output_shape[1:]], self.task.outputs[0].dtype)
        with self.distribute_strategy.scope(), keras.StatelessScope():
            self.compute_metrics(None, labels, predictions, weights)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds the metrics; Keras would also call the model with the training dict, which the task can't take."""
        if self._on_several_replicas and iterator is not None:
            self.build_metrics(iterator.data_adapter.get_tf_dataset().element_spec)


def _one_example(spec) -> tf.Tensor:
    """Zeros as a dataset yields them, of a tf.TensorSpec or what a distributed dataset has in its place."""
    spec = getattr(spec, "_value_specs", [spec])[0]
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)
