"""Time of a meta step relative to the plain step of the same network, in one run.

python benchmarks/step.py --networks=16-2,28-2

The peer `naive` is the textbook form: nested tapes, a forward pass each for virtual and real update, no XLA. Variants
take turns, so that a noisy machine slows all of them alike; ratios are medians over rounds with the quartiles beside.
"""

import argparse
import functools
import resource
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.tasks.features import with_features

BATCH = VALIDATION = 64
CLASSES = 10
VARIANTS = {
    "plain": {"policy_network": None},
    "exact": {"meta_gradient": "exact"},
    "finite_difference": {"meta_gradient": "finite_difference"},
    "last_block": {"meta_gradient": "last_block"},
    "exact, every 8th": {"meta_gradient": "exact", "meta_every": 8},
    "finite_difference, every 8th": {"meta_gradient": "finite_difference", "meta_every": 8},
    "last_block, every 8th": {"meta_gradient": "last_block", "meta_every": 8},
    "plain, not compiled": {"policy_network": None, "jit_compile": False},
    "exact, not compiled": {"jit_compile": False},
}


def loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def random_batch(size):
    random = np.random.default_rng(0)

    def images(count):
        return tf.constant(random.integers(0, 256, (count, size, size, 3)), tf.uint8)

    inputs = {
        "images": images(BATCH),
        "pairs": tf.constant(random.integers(0, 14, (BATCH, 2)), tf.int32),
        "magnitudes": tf.constant(random.uniform(-10, 10, (BATCH, 2)), tf.float32),
        "validation_images": images(VALIDATION),
        "validation_labels": tf.constant(random.integers(0, CLASSES, VALIDATION), tf.int32),
    }
    return inputs, tf.constant(random.integers(0, CLASSES, BATCH), tf.int32)


def make_model(depth, width, variant):
    """A fresh network, compiled for training."""
    keras.utils.set_random_seed(0)
    settings = {"jit_compile": True, **variant}
    policy = {key: settings.pop(key) for key in ("policy_network",) if key in settings}
    model = ma.MetaAugment(ma.wide_resnet(depth, width, CLASSES, (32, 32, 3)), **policy)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "adam", loss=loss(), **settings)
    return model


def make_step(depth, width, variant, batch):
    """What fit calls, on one batch again and again: a function without arguments that takes a step of a new network."""
    model = make_model(depth, width, variant)
    step, batches = model.make_train_function(), iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: step(batches)


def make_naive_step(depth, width):
    """The textbook form of the exact step, for comparison: nothing shared, nothing compiled."""
    keras.utils.set_random_seed(0)
    model = ma.MetaAugment(ma.wide_resnet(depth, width, CLASSES, (32, 32, 3)))
    network, policy = with_features(model.task), model.policy_network
    optimizers = keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(1e-3)
    optimizers[0].build(network.trainable_variables)
    optimizers[1].build(policy.trainable_variables)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits

    @tf.function
    def step(data):
        inputs, labels = data
        embedding = ma.transformation_embedding(inputs["pairs"], inputs["magnitudes"])
        w = [v.value for v in network.trainable_variables]
        state = [v.value for v in network.non_trainable_variables]

        def weighted_loss():
            (logits, features), new_state = network.stateless_call(w, state, inputs["images"], training=True)
            raw = policy(tf.stop_gradient(features), embedding)
            return tf.reduce_sum(raw / tf.reduce_sum(raw) * cross_entropy(labels, logits)), new_state

        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                value, _ = weighted_loss()
            w_hat = [a - 0.1 * g for a, g in zip(w, inner.gradient(value, w), strict=True)]
            (logits, _), _ = network.stateless_call(w_hat, state, inputs["validation_images"], training=True)
            validation_loss = tf.reduce_mean(cross_entropy(inputs["validation_labels"], logits))
        gradients = outer.gradient(validation_loss, [v.value for v in policy.trainable_variables])
        optimizers[1].apply_gradients(zip(gradients, policy.trainable_variables, strict=True))
        with tf.GradientTape() as inner:
            value, new_state = weighted_loss()
        gradients = inner.gradient(value, w)
        optimizers[0].apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        for variable, new in zip(network.non_trainable_variables, new_state, strict=True):
            variable.assign(new)
        return {"loss": value}

    return step


def seconds_of(step, steps):
    started = time.perf_counter()
    for _ in range(steps):
        logs = step()
    float(logs["loss"])  # waits for the last one
    return (time.perf_counter() - started) / steps


def measure(depth, width, rounds, names):
    """Seconds per step, name -> one figure per round; compile seconds, name -> one figure."""
    batch = random_batch(32)
    steps, compile_seconds = {}, {}
    for name in names:
        started = time.perf_counter()
        if name == "naive":
            steps[name] = functools.partial(make_naive_step(depth, width), batch)
        else:
            steps[name] = make_step(depth, width, VARIANTS[name], batch)
        for _ in range(2 if "every" in name else 1):
            steps[name]()  # compiles; the first two steps are of the two kinds
        compile_seconds[name] = time.perf_counter() - started
    seconds = {name: [] for name in names}
    for _ in range(rounds):
        for name, step in steps.items():
            # A variant that skips policy updates has to be timed over a whole turn of them.
            seconds[name].append(seconds_of(step, 8 if "every" in name else 2))
    return seconds, compile_seconds


def time_once(depth, width, name):
    """For networks too large to take turns: how long compiling takes, and one step after it."""
    batch = random_batch(32)
    step = make_step(depth, width, VARIANTS[name], batch)
    first = seconds_of(step, 1)
    alone = seconds_of(step, 1)
    print(
        f"WRN-{depth}-{width}, {name}: first step {first:.0f} s (compiling {first - alone:.0f} s), next {alone:.1f} s"
    )


def count_convolutions(depth, width, name):
    """Convolutions in the compiled program of one step."""
    step = tf.function(make_model(depth, width, VARIANTS[name]).train_step, jit_compile=True)
    program = step.experimental_get_compiler_ir(random_batch(32))
    return program(stage="optimized_hlo").count(" convolution(")


def print_table(depth, width, seconds, compile_seconds):
    print(f"\nWRN-{depth}-{width}, batch {BATCH}, validation batch {VALIDATION}")
    print(f"{'variant':32s}{'ms a step':>10s}{'ratio':>8s}{'quartiles':>16s}{'compile s':>11s}")
    for name, values in seconds.items():
        ratios = [own / plain for own, plain in zip(values, seconds["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        millis = 1000 * statistics.median(values)
        print(f"{name:32s}{millis:10.0f}{middle:8.2f}{low:8.2f} - {high:.2f}{compile_seconds[name]:11.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="16-2,28-2", help="DEPTH-WIDTH of WideResNets, comma-separated")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS, "naive"], choices=[*VARIANTS, "naive"])
    parser.add_argument("--count", action="store_true", help="count convolutions instead of timing")
    parser.add_argument("--once", choices=list(VARIANTS), help="time compiling and a single step of this variant alone")
    arguments = parser.parse_args()
    for network in arguments.networks.split(","):
        depth, width = map(int, network.split("-"))
        if arguments.count:
            for name in ("plain", "exact", "finite_difference", "last_block"):
                print(f"WRN-{network} {name:20s}{count_convolutions(depth, width, name):5d} convolutions")
            continue
        if arguments.once:
            time_once(depth, width, arguments.once)
            continue
        print_table(depth, width, *measure(depth, width, arguments.rounds, arguments.variants))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the process with all variants: {peak:.1f} GiB")


if __name__ == "__main__":
    main()
