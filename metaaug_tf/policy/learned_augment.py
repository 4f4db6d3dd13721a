"""A learned policy as a Keras layer, for anybody's tf.data pipeline or model."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from metaaug_tf.augmentation.transform import draw_transformations, transformation_embedding
from metaaug_tf.errors import UserError
from metaaug_tf.ops import apply_pairs
from metaaug_tf.ops.validation import check_seed
from metaaug_tf.policy.folder import read_network, read_sampler, read_settings
from metaaug_tf.policy.network import PolicyNetwork, weigh
from metaaug_tf.tasks.features import with_features

DEFAULT_FILL = 128


@keras.saving.register_keras_serializable("metaaug_tf")
class LearnedAugment(keras.layers.Layer):
    """Augments images with pairs of operations drawn from a learned table; weighs them where it is given a classifier.

    With a seed the result is a pure function of (seed, the images' positions in the batch): the draws are those of
    draw_transformations("metaaugment", table, seed, 0, [0, ..., B - 1]). Without one, call number n of the layer
    (from 0, counted in its state) draws as epoch n of the seed that the layer was made with. Calls that run at the same
    time, as in a parallel map, may take a number in any order or twice: give them seeds where that matters.

    Called directly, as in a tf.data pipeline, the layer augments. As part of a model it does so in training alone: in
    model(x), predict, evaluate and export images pass. `training=True` or `training=False` says otherwise.

    Example:
        import tensorflow as tf

        augment = LearnedAugment.load("runs/x/policy")
        seeds = tf.data.Dataset.random(seed=7, rerandomize_each_iteration=True)
        batches = tf.data.Dataset.zip(batches, seeds).map(
            lambda batch, seed: (augment(batch[0], seed=seed), batch[1]), tf.data.AUTOTUNE
        )
    """

    def __init__(self, probabilities, fill=DEFAULT_FILL, seed=0, policy_network=None, task=None, **kwargs):
        """Makes the layer from its parts; `load` reads them from a policy folder.

        Args:
            probabilities: float [14, 14], how often each pair is drawn, rows the first operation.
            fill: 0 to 255, the grey level of what comes from outside the image.
            seed: int in [0, 2**60), for calls that are given none.
            policy_network: a PolicyNetwork; needs `task`.
            task: the classifier whose features the network was trained on (or one with the same features); with it the
                layer returns weights too.
            **kwargs: keras.layers.Layer's.

        Raises:
            UserError: only one of the network and the task is given, or they don't fit together.
            ValueError: the seed is out of range.
        """
        check_seed(seed)
        kwargs.setdefault("name", "learned_augment")
        super().__init__(trainable=False, **{**kwargs, "dtype": "float32"})
        # A tuple of tuples: a nested list would be tracked as layers' state.
        self.probabilities = tuple(map(tuple, np.asarray(probabilities, float).tolist()))
        self.fill, self.seed = fill, seed
        self.policy_network, self.task = policy_network, task
        self._with_features = _checked_features(policy_network, task)
        self._calls = keras.random.SeedGenerator(seed)
        self.built = True

    @classmethod
    def load(cls, folder: str | Path, task: keras.Model | None = None, **kwargs) -> "LearnedAugment":
        """Reads a run's policy folder.

        Args:
            folder: e.g. runs/x/policy.
            task: see __init__; the policy network is read from the folder.
            **kwargs: __init__'s; `fill` is by default the run's.

        Raises:
            UserError: the folder is not a policy's, is damaged, is of another version or of other operations, or has no
                network for the task.
        """
        table = read_sampler(folder).probabilities
        kwargs.setdefault("fill", read_settings(folder).get("fill", DEFAULT_FILL))
        network = None if task is None else read_network(folder)
        return cls(table, policy_network=network, task=task, **kwargs)

    def call(self, images, seed=None, training=None):
        """Augments a batch.

        Args:
            images: uint8 [B, H, W, C], C = 1 or 3.
            seed: scalar int in [0, 2**60); None takes the layer's own count of calls.
            training: False returns the images as they are, with weights of 1; None is True in a direct call, False
                within the call of a model or another layer that says nothing of training.

        Returns:
            uint8 [B, H, W, C]; with a task, (that, float32 [B] raw weights in (0, 1)).

        Raises:
            ValueError: images of another dtype, rank or number of channels; a seed out of range.
        """
        if training is None:
            # Keras has filled in what a surrounding call says; whose call it all began with is nowhere public.
            training = self._get_call_context().entry_layer is self
        if not training:
            return images if self.task is None else (images, tf.ones(tf.shape(images)[:1]))
        pairs, magnitudes = self.draw(tf.shape(images)[0], seed)
        images = apply_pairs(images, pairs, magnitudes, self.fill)
        view = self._with_features
        if view is None:
            return images

        def features_of(images):
            return view(images, training=False)[1]

        return images, weigh(self.policy_network, features_of, images, pairs, magnitudes)

    def draw(self, count, seed=None) -> tuple[tf.Tensor, tf.Tensor]:
        """What a call does to each of `count` images: pairs int32 [B, 2] and signed magnitudes float32 [B, 2]."""
        if seed is None:
            seed, epoch = tf.unstack(tf.cast(self._calls.next(), tf.int64))
        else:
            seed, epoch = check_seed(seed), 0
        indices = tf.range(tf.cast(count, tf.int64))
        return draw_transformations("metaaugment", self.probabilities, seed, epoch, indices)

    def compute_output_spec(self, images, seed=None, training=None):
        """Shapes and dtypes of a call's results, for functional models."""
        if keras.backend.standardize_dtype(images.dtype) != "uint8":
            raise ValueError(f"LearnedAugment takes uint8 images, not {images.dtype}: keras.Input(..., dtype='uint8')")
        augmented = keras.KerasTensor(images.shape, "uint8")
        return augmented if self.task is None else (augmented, keras.KerasTensor(images.shape[:1], "float32"))

    def get_config(self):
        """The table as plain lists, the settings, and the two networks where there are any."""
        networks = {
            name: keras.saving.serialize_keras_object(value)
            for name, value in (("policy_network", self.policy_network), ("task", self.task))
        }
        table = [list(row) for row in self.probabilities]
        return {**super().get_config(), "probabilities": table, "fill": self.fill, "seed": self.seed, **networks}

    @classmethod
    def from_config(cls, config):
        """Makes the layer again; weights of its networks are loaded afterwards by Keras."""
        networks = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("policy_network", "task")}
        config = {name: value for name, value in config.items() if name != "trainable"}
        return cls(**{**config, **networks})


def _checked_features(network: PolicyNetwork | None, task: keras.Model | None) -> keras.Model | None:
    """The view of the task that gives its features, or None without a task; builds a network that is not built yet.

    Raises:
        UserError: only one of the two is given, or the network was built for features of another length.
    """
    if network is None and task is None:
        return None
    if network is None or task is None:
        raise UserError("weights need both a policy network and the task whose features it was trained on")
    view = with_features(task)
    width = view.outputs[1].shape[-1]
    if not network.built:
        network(tf.zeros((1, width)), transformation_embedding([[0, 0]], [[0.0, 0.0]]))
    expected = network.sample_branch.kernel.shape[0]
    if width != expected:
        raise UserError(
            f"the policy network was trained on feature vectors of length {expected}, the task {task.name!r} has "
            f"{width}; give the classifier of the run that the policy is from"
        )
    return view
