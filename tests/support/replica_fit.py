"""fit, evaluate and predict without a strategy and within a user's own strategy.scope(); results to a file.

Run as a process of its own: python tests/support/replica_fit.py RESULTS.npz
"""

import collections
import sys

import helpers
import keras
import numpy as np
import tensorflow as tf
from replica_runs import replicas_differ, split_cpu, strategy_of

import metaaug_tf as ma

TRAIN, VALIDATION = helpers.random_examples(32, 0), helpers.random_examples(10, 1)
TEST = helpers.random_examples(13, 2)  # of batches of 4 the last is 1 image: nothing is left for the second replica


def make_model(replicas, dtype="float64", **settings):
    with strategy_of(replicas).scope():
        task = helpers.tiny_task(dtype=dtype)
        keras.utils.set_random_seed(3)
        model = ma.MetaAugment(task, ma.PolicyNetwork(hidden_units=7, dtype=dtype))
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            keras.optimizers.Adam(0.01),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            **settings,
        )
    return model


def fit(replicas):
    model = make_model(replicas, meta_every=2, steps_per_execution=2)
    sizes = {"batch_size": 8, "validation_batch_size": 4}
    none = ma.Augmentation("none", padding=1)
    dataset = ma.training_dataset(TRAIN, VALIDATION, model.sampler, augmentation=none, **sizes)
    testing = ma.evaluation_dataset(TEST, 4)
    history = model.fit(dataset, validation_data=testing, epochs=2, verbose=0).history
    results = {f"history/{name}": values for name, values in history.items()}
    results |= {f"evaluate/{k}": v for k, v in model.evaluate(testing, verbose=0, return_dict=True).items()}
    results["predict"] = model.predict(TEST.images, batch_size=4, verbose=0)
    results["replicas differ"] = any(map(replicas_differ, model.variables))
    return results | {f"variables/{i}": variable.numpy() for i, variable in enumerate(model.variables)}


def reductions(method):
    """Collective operations of one replica in a step that the user runs by himself."""
    model, strategy = make_model(2, "float32", meta_gradient=method), strategy_of(2)
    inputs, labels = helpers.random_batch(batch=8, validation=8)
    model.build_metrics((inputs, labels))
    step = tf.function(lambda: strategy.run(model.train_step, args=((inputs, labels),)))
    nodes = step.get_concrete_function().graph.get_operations()
    counts = collections.Counter(node.type for node in nodes if "Collective" in node.type)
    return sum(counts.values()) / 2


def message_of_a_branch():
    model, strategy = make_model(2, meta_every=2, run_eagerly=True), strategy_of(2)
    try:
        strategy.run(model.train_step, args=(helpers.random_batch(),))
    except ma.UserError as error:
        return str(error)


def main(path):
    split_cpu(2)
    arrays = {f"fit|{replicas}|{key}": value for replicas in (0, 2) for key, value in fit(replicas).items()}
    for method in ("exact", "finite_difference"):
        arrays[f"reductions|2|{method}"] = reductions(method)
    np.savez(path, **arrays, **{"message|2|branch": message_of_a_branch()})


if __name__ == "__main__":
    main(sys.argv[1])
