"""The policy network: how much the loss of an augmented image counts."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from metaaug_tf.augmentation.transform import EMBEDDING_SIZE, transformation_embedding
from metaaug_tf.errors import UserError
from metaaug_tf.ops.table import OPERATIONS
from metaaug_tf.policy.choices import DEFAULT_EVIDENCE, EVIDENCE, HEADS
from metaaug_tf.policy.sampler import initial_probabilities

# The magnitude of every pair of operations in the reference of the contrast head: the middle.
_REFERENCE_MAGNITUDE = 5.0
# Of the logit that evidence adds, and how fast the optimizer's small steps get there.
_EVIDENCE_BOUND, _EVIDENCE_SCALE = 8.0, 32.0


@keras.saving.register_keras_serializable("metaaug_tf")
class PolicyNetwork(keras.Model):
    """P(phi, e; theta) of the method: features and transformation -> weight in (0, 1).

    Both inputs pass a Dense layer with ReLU; s and t are the results. The heads:

    - `additive`, as the method describes it: sigmoid(a s + b t + c). Sample and transformation do not interact.
    - `contrast`, the default and this project's choice: sigmoid(a (s * t') + b t'), where t' is t minus its mean
      over all 196 pairs of operations as the sampler first draws them, and s is taken of features that LayerNorm has
      scaled. The product lets a transformation be good for one image and bad for another. Without
      t' the network would also learn which images to prefer whatever is done to them; one step's gain is linear
      in the weights, so that preference grows until a few kinds of images hold all the weight. With t' the mean
      logit over all pairs is 0 for every image: the policy compares what may be done to an image, and its level
      can't drift.

    Evidence, numbers that speak for or against a sample and its label (meta/evidence.py), is added to the logit of
    either head, with a bound: bound * tanh(scale * sum_e trust_e evidence_e). The trust in each is learned from 0 by
    the same meta-gradient; it is one number, so that little can be learned from noise.

    Everything is float32 unless another dtype is given, whatever the global dtype policy.
    """

    def __init__(
        self,
        hidden_units: int = 100,
        head: str = "contrast",
        identity_odds: float = 1.0,
        evidence: Sequence[str] = DEFAULT_EVIDENCE,
        **kwargs: Any,
    ) -> None:
        """Creates the network; its input widths are found at the first call.

        Args:
            hidden_units: width of each branch.
            head: "contrast" or "additive".
            identity_odds: the sampler's, for the mean that the contrast head takes over the pairs.
            evidence: names in policy.choices.EVIDENCE; () for none.
            **kwargs: keras.Model's.

        Raises:
            UserError: unknown head or evidence, or identity_odds out of its range.
        """
        if head not in HEADS:
            raise UserError(f"head must be one of {', '.join(HEADS)}, got {head!r}")
        evidence = tuple(evidence)
        if not set(evidence) <= set(EVIDENCE) or len(set(evidence)) < len(evidence):
            raise UserError(f"evidence must be some of {', '.join(EVIDENCE)}, each once, got {list(evidence)}")
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("name", "policy")
        super().__init__(**kwargs)
        self.hidden_units, self.head, self.identity_odds, self.evidence = hidden_units, head, identity_odds, evidence
        dtype = self.dtype_policy
        contrast = head == "contrast"
        self.normalisation = layers.LayerNormalization(dtype=dtype) if contrast else None
        self.sample_branch = layers.Dense(hidden_units, activation="relu", dtype=dtype, name="sample")
        self.transformation_branch = layers.Dense(hidden_units, activation="relu", dtype=dtype, name="transformation")
        self.output_layer = layers.Dense(1, use_bias=not contrast, dtype=dtype, name="weight")
        self._reference = _all_pairs()
        # Factors whose mean is 1 make a plain mean one that is weighted by the initial distribution.
        probabilities = initial_probabilities(identity_odds).reshape(-1, 1)
        # Divided by the largest first, equal probabilities are exactly 1 and so is their mean, whatever 1/196 and the
        # sum of 196 of them are rounded to: the uniform case is then the plain mean, to the bit.
        ratios = probabilities / probabilities.max()
        self._reference_factors = (ratios / np.mean(ratios)).astype(np.float32)

    def build(self, features_shape: tuple[int | None, ...], embedding_shape: tuple[int | None, ...]) -> None:
        """Creates the variables for features [B, F] and embedding [B, 28]."""
        if self.normalisation is not None:
            self.normalisation.build(features_shape)
        self.sample_branch.build(features_shape)
        self.transformation_branch.build(embedding_shape)
        self.output_layer.build((None, 2 * self.hidden_units))
        self.trust = None
        if self.evidence:
            self.trust = self.add_weight((len(self.evidence),), "zeros", dtype=self.variable_dtype, name="trust")

    def call(self, features: Any, embedding: Any, evidence: Any = None) -> Any:
        """Returns weights [B] in (0, 1).

        Args:
            features: float [B, F].
            embedding: float [B, 28], the transformations.
            evidence: float [B, E] by the names in `evidence`; None gives the transformation's part of the weights.
        """
        features = ops.cast(features, self.compute_dtype)
        transformation = self.transformation_branch(ops.cast(embedding, self.compute_dtype))
        if self.normalisation is None:
            joined = [self.sample_branch(features), transformation]
        else:
            reference = self.transformation_branch(ops.cast(self._reference, self.compute_dtype))
            transformation -= ops.mean(reference * ops.cast(self._reference_factors, reference.dtype), axis=0)
            sample = self.sample_branch(self.normalisation(features))
            joined = [sample * transformation, transformation]
        logit = self.output_layer(ops.concatenate(joined, axis=-1))[:, 0]
        if evidence is not None and self.trust is not None:
            total = ops.matmul(ops.cast(evidence, self.compute_dtype), ops.cast(self.trust, self.compute_dtype))
            logit += _EVIDENCE_BOUND * ops.tanh(_EVIDENCE_SCALE * total)
        return ops.sigmoid(logit)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings from which the network can be made again."""
        own = {"hidden_units": self.hidden_units, "head": self.head, "identity_odds": self.identity_odds}
        return {**super().get_config(), **own, "evidence": list(self.evidence)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "PolicyNetwork":
        """Creates the network from `get_config`; one saved before there was evidence has none."""
        return cls(**{"evidence": (), **config})


def build_on(network: keras.Model, feature_width: int) -> None:
    """Creates the variables of a policy network, by a call on one made-up sample.

    Args:
        network: (features [B, F], embedding [B, 28]) -> weights [B].
        feature_width: F.
    """
    network(np.zeros((1, feature_width), np.float32), np.zeros((1, EMBEDDING_SIZE), np.float32))


def weigh(network: keras.Model, features_of: Callable, images: Any, pairs: Any, magnitudes: Any) -> Any:
    """Returns the raw weights of augmented images (method.md, step 2).

    Args:
        network: the policy network.
        features_of: images [B, H, W, C] -> the classifier's features [B, F], in evaluation mode.
        images: uint8 [B, H, W, C], augmented.
        pairs: int [B, 2], the operations that were applied to each.
        magnitudes: float32 [B, 2], signed, within [-10, 10].

    Returns:
        Raw weights float [B] in (0, 1), of the network's dtype.
    """
    return network(features_of(images), transformation_embedding(pairs, magnitudes))


def _all_pairs() -> np.ndarray:
    """Returns embeddings float32 [196, 28] of all pairs of operations at the reference magnitude."""
    count = len(OPERATIONS)
    pairs = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), axis=-1).reshape(-1, 2)
    magnitudes = np.full(pairs.shape, _REFERENCE_MAGNITUDE, np.float32)
    return np.asarray(transformation_embedding(pairs, magnitudes))
