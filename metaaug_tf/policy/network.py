"""The policy network: how much an augmented image's loss is to count."""

import keras
from keras import layers, ops

from metaaug_tf.errors import UserError

HEADS = ("product", "additive")


@keras.saving.register_keras_serializable("metaaug_tf")
class PolicyNetwork(keras.Model):
    """P(phi, e; theta) of the method: features and transformation -> weight in (0, 1).

    Both inputs pass a Dense layer with ReLU. The head `additive` joins the two branches before one sigmoid
    output, as the method describes it; there sample and transformation do not interact (their logits add). The
    default `product` also joins the elementwise product of the branches, so that a transformation can be good
    for one image and bad for another, and normalises the features (LayerNorm), whose scale drifts while the
    task network trains. Both are this project's choice.

    Everything is float32, whatever the global dtype policy.
    """

    def __init__(self, hidden_units: int = 100, head: str = "product", **kwargs):
        """Creates the network; its input widths are found at the first call.

        Args:
            hidden_units: width of each branch.
            head: "product" or "additive".
            **kwargs: keras.Model's.

        Raises:
            UserError: unknown head.
        """
        if head not in HEADS:
            raise UserError(f"unknown policy head {head!r}; there are: {', '.join(HEADS)}")
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("name", "policy")
        super().__init__(**kwargs)
        self.hidden_units, self.head = hidden_units, head
        dtype = self.dtype_policy
        self.normalisation = layers.LayerNormalization(dtype=dtype) if head == "product" else None
        self.sample_branch = layers.Dense(hidden_units, activation="relu", dtype=dtype, name="sample")
        self.transformation_branch = layers.Dense(hidden_units, activation="relu", dtype=dtype, name="transformation")
        self.output_layer = layers.Dense(1, activation="sigmoid", dtype=dtype, name="weight")

    def build(self, features_shape, embedding_shape):
        """Creates the variables for features [B, F] and embedding [B, 28]."""
        if self.normalisation is not None:
            self.normalisation.build(features_shape)
        self.sample_branch.build(features_shape)
        self.transformation_branch.build(embedding_shape)
        parts = 3 if self.head == "product" else 2
        self.output_layer.build((None, parts * self.hidden_units))

    def call(self, features, embedding):
        """Weights [B] in (0, 1) for features [B, F] and transformation embeddings [B, 28]."""
        features = ops.cast(features, self.compute_dtype)
        embedding = ops.cast(embedding, self.compute_dtype)
        if self.normalisation is not None:
            features = self.normalisation(features)
        sample, transformation = self.sample_branch(features), self.transformation_branch(embedding)
        joined = [sample, transformation]
        if self.head == "product":
            joined.append(sample * transformation)
        return self.output_layer(ops.concatenate(joined, axis=-1))[:, 0]

    def get_config(self):
        """Settings from which the network can be made again."""
        return {**super().get_config(), "hidden_units": self.hidden_units, "head": self.head}
