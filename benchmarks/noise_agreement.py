"""How well the finite difference agrees with the exact meta-gradient in networks with random backward passes.

Command: python benchmarks/noise_agreement.py   (1 to 2 minutes on 2 cores)
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.tasks.pyramidnet import pyramidnet
from metaaug_tf.tasks.shake_shake import shake_shake

CLASSES, SHAPE, BATCH, SEEDS = 4, (16, 16, 3), 16, 4
NETWORKS = {
    "shake_shake_8_2x8d": lambda: shake_shake(8, CLASSES, SHAPE, blocks_per_stage=1),
    "pyramidnet_20_a16": lambda: pyramidnet(20, 16, CLASSES, SHAPE),
    "wide_resnet_10_1 (no noise)": lambda: ma.wide_resnet(10, 1, CLASSES, SHAPE),
}


def cosine(build, seed: int) -> float:
    """Cosine between the two meta-gradients on random images and labels."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    task, policy = build(), ma.PolicyNetwork(hidden_units=8)
    images = [tf.constant(random.integers(0, 256, (BATCH, *SHAPE)), tf.float32) for _ in range(2)]
    labels = [tf.constant(random.integers(0, CLASSES, BATCH)) for _ in range(2)]
    pairs, magnitudes = random.integers(0, 14, (BATCH, 2)), random.uniform(-10, 10, (BATCH, 2)).astype("float32")
    embedding = ma.transformation_embedding(pairs, magnitudes)
    policy(ma.MetaAugment(task, policy_network=None).features(images[0]), embedding)
    batch, validation = (images[0], labels[0], embedding), (images[1], labels[1])
    one, other = (
        np.concatenate([np.ravel(g) for g in ma.meta_gradient(task, policy, batch, validation, 0.1, method)])
        for method in ("exact", "finite_difference")
    )
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


if __name__ == "__main__":
    for name, build in NETWORKS.items():
        print(f"{name:30}", *(f"{cosine(build, seed):.3f}" for seed in range(SEEDS)))
