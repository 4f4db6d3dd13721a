"""One training step of the same global batch without a strategy and on several logical CPU devices; results to a file.

Run as a process of its own, since a process divides its CPU into logical devices once:
    python tests/support/replica_runs.py RESULTS.npz CASE[,CASE...]
"""

import functools
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import helpers
import keras
import numpy as np
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.meta.choices import METHODS
from metaaug_tf.tasks.batch_norm import synchronise_batch_norm

SGD = keras.optimizers.SGD
# Replicas, sizes of the training and the validation batch, the network, compile's arguments, other wishes.
CASES = {
    "methods": {"replicas": (1, 2, 4)},
    "uneven": {"replicas": (2, 4), "batch": 5, "validation": 3},
    "uneven finite_difference": {
        "replicas": (4,),
        "batch": 5,
        "validation": 3,
        "compile": {"meta_gradient": "finite_difference"},
    },
    "synchronised": {"replicas": (2,), "batch": 7, "network": {"batch_norm": True}, "synchronise": True},
    "batch_norm": {"replicas": (2, 4), "batch": 5, "validation": 3, "network": {"batch_norm": True}},
    "clipped": {
        "replicas": (2,),
        "network": {"regularizer": keras.regularizers.L2(0.1)},
        "compile": {
            "optimizer": lambda: SGD(0.1, momentum=0.9, global_clipnorm=0.01, weight_decay=0.1, use_ema=True),
            "policy_optimizer": lambda: SGD(0.5, clipnorm=1e-3),
        },
    },
    "not normalised": {"replicas": (2,), "batch": 7, "compile": {"normalise_weights": False}},
    "equal": {"replicas": (2,), "batch": 7, "compile": {"weighting": "equal"}},
    "shuffled": {"replicas": (2,), "batch": 7, "compile": {"weighting": "shuffled"}},
    "no policy": {"replicas": (2,), "batch": 7, "policy": False},
    "sample weights": {"replicas": (2,), "batch": 7, "sample_weights": True},
    "dropout": {"replicas": (2,), "network": {"dropout": 0.5}},
}


def split_cpu(devices):
    """Makes logical devices of the CPU, before TensorFlow has used it."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)


@functools.cache
def strategy_of(replicas):
    """0: none. Two strategies in a process must not share the numbers of their collectives."""
    if not replicas:
        return tf.distribute.get_strategy()
    tf.distribute.MirroredStrategy._collective_key_base = 1000 * replicas
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])


def make_model(case, replicas):
    with strategy_of(replicas).scope():
        task = helpers.tiny_task(dtype="float64", **case.get("network", {}))
        if case.get("synchronise"):
            synchronise_batch_norm(task)
        keras.utils.set_random_seed(3)
        policy = ma.PolicyNetwork(hidden_units=7, dtype="float64") if case.get("policy", True) else None
        model = ma.MetaAugment(task, policy)
        settings = {"optimizer": lambda: SGD(0.1), "policy_optimizer": lambda: SGD(0.5), **case.get("compile", {})}
        settings = {key: value() if callable(value) else value for key, value in settings.items()}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        # Eagerly: tracing four replicas takes longer than running them.
        model.compile(loss=loss, metrics=["accuracy"], jit_compile=False, run_eagerly=True, **settings)
    return model


def make_batch(case):
    sizes = {"batch": case.get("batch", 8), "validation": case.get("validation", 8)}
    inputs, labels = helpers.random_batch(**sizes)
    weights = [tf.random.stateless_uniform([sizes["batch"]], [1, 2])] if case.get("sample_weights") else []
    return tf.data.Dataset.from_tensors((inputs, labels, *weights))


def variables_of(model):
    groups = {"task": model.task, "sampler": model.sampler, "optimizer": model.optimizer}
    if model.policy_network is not None:
        groups |= {"policy": model.policy_network, "policy_optimizer": model.policy_optimizer}
    return {f"{group}/{i}": v for group, owner in groups.items() for i, v in enumerate(owner.variables)}


def replicas_differ(variable):
    first, *others = [component.numpy() for component in getattr(variable.value, "values", [variable.value])]
    return any((first != other).any() for other in others)


def take_step(model, batch):
    """What one step comes to: gradient, variables, logs, and whether the replicas' variables are still the same."""
    strategy = model.distribute_strategy
    distributed = next(iter(strategy.experimental_distribute_dataset(batch)))
    model.build_metrics(batch.element_spec)
    model.reset_metrics()
    before = {name: variable.numpy() for name, variable in variables_of(model).items()}
    results = {}
    if model.policy_network is not None:
        gradients = strategy.run(model.policy_gradients, args=(distributed, model.meta_step.method))
        for i, gradient in enumerate(gradients):
            results[f"policy_gradient/{i}"] = strategy.experimental_local_results(gradient)[0].numpy()
    logs = strategy.run(model.train_step, args=(distributed,))
    results["loss of the step"] = strategy.experimental_local_results(logs["loss"])[0].numpy()
    results["replicas differ"] = any(map(replicas_differ, variables_of(model).values()))
    results |= {f"logs/{name}": np.asarray(value) for name, value in model.get_metrics_result().items()}
    model.sampler.end_epoch()
    results |= {name: variable.numpy() for name, variable in variables_of(model).items()}
    results |= {f"{name} before": value for name, value in before.items()}
    for name, variable in variables_of(model).items():
        variable.assign(before[name])
    return results


def run(name, replicas):
    case, batch = CASES[name], make_batch(CASES[name])
    if name != "methods":
        return {name: take_step(make_model(case, replicas), batch)}
    return {
        method: take_step(make_model(case | {"compile": {"meta_gradient": method}}, replicas), batch)
        for method in METHODS
    }


def main(path, names):
    split_cpu(4)
    arrays = {}
    for name in names:
        for replicas in (0, *CASES[name]["replicas"]):
            for case, results in run(name, replicas).items():
                arrays |= {f"{case}|{replicas}|{key}": value for key, value in results.items()}
    np.savez(path, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2].split(","))
