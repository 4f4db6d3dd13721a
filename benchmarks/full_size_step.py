"""Time and peak memory of a meta step of a network at its full size, on random images, in a process of its own.

    python benchmarks/full_size_step.py --network=pyramidnet_272_a200 --dataset=cifar10 --batch=8

Builds what the dataset's config builds, with the exact meta-gradient, and takes two steps with as many validation as
training images: the first one also traces the graph. Prints JSON; seconds are those of the clock, cpu_seconds those of
all the process's threads, which other processes do not add to; MiB are Linux's peak counter (VmHWM).
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

import metaaug_tf as ma
from metaaug_tf.config import Config, config_for
from metaaug_tf.tasks.registry import NETWORKS
from metaaug_tf.training.build import build_model

CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet2012": 1000}


def random_examples(count, size, classes, seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ma.Examples(images, random.integers(0, classes, count).astype(np.int32))


def timed(function):
    wall, cpu = time.monotonic(), time.process_time()
    result = function()
    return result, {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}


def peak_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def largest_changes(variables, before):
    """By how much each variable's most changed entry did."""
    return [float(np.abs(variable.numpy() - old).max()) for variable, old in zip(variables, before, strict=True)]


def measure(network, dataset, batch, method):
    config = {**config_for(dataset).to_dict(), "model": network, "meta_gradient": method}
    config |= {"warmup_epochs": 0, "policy_warmup_fraction": 0.0, "weight_decay": 0.0}  # only gradients change anything
    classes, size = CLASSES[dataset], config["image_size"]
    model, building = timed(lambda: build_model(Config.of(config), classes, (size, size, 3), 2))
    sets = (random_examples(2 * batch, size, classes, seed) for seed in range(2))
    data = ma.training_dataset(*sets, model.sampler, batch_size=batch, validation_batch_size=batch)
    batches, step = iter(data), model.make_train_function()
    networks = {"task": model.task, "policy": model.policy_network}
    before = {name: [v.numpy() for v in network.trainable_variables] for name, network in networks.items()}

    def one_step():
        return {key: float(value) for key, value in step(batches).items()}

    logs, first = timed(one_step)
    changes = {name: largest_changes(network.trainable_variables, before[name]) for name, network in networks.items()}
    second = timed(one_step)[1]
    return {
        "network": network,
        "dataset": dataset,
        "batch": batch,
        "meta_gradient": method,
        "parameters": sum(int(np.prod(variable.shape)) for variable in model.task.trainable_variables),
        "building": building,
        "first_step": first,
        "second_step": second,
        "peak_mib": peak_mib(),
        "first_logs": logs,
        # How far the variable that moved least did, over all its entries: above 0 where every one got a gradient.
        "least_change": {name: min(values) for name, values in changes.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--dataset", choices=CLASSES, default="cifar10")
    parser.add_argument("--batch", type=int, required=True, help="training images, and as many validation images")
    parser.add_argument("--meta_gradient", default="exact")
    arguments = parser.parse_args()
    print(json.dumps(measure(*vars(arguments).values())))


if __name__ == "__main__":
    main()
