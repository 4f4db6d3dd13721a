"""What training on several devices costs: bytes reduced per step, time per step, and a model of the step on GPUs.

python benchmarks/scaling.py count     all-reduces in the step of two workers, from the graph TensorFlow made
python benchmarks/scaling.py time      time of a step on 1, 2 and 4 logical devices of this machine's CPU
python benchmarks/scaling.py model     the step on 8 and on 4 x 8 GPUs, on paper (benchmarks/scaling_model.py)

`count` starts two processes on this machine, `time` one for each number of devices, which take steps in turn.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from scaling_model import print_model

METHODS = ("plain", "exact", "finite_difference", "last_block")
NETWORK, BATCH, CLASSES, SIZE = "wide_resnet 16-2", 64, 10, 32
ROUNDS = 9


def make_model(strategy, method, network="16-2"):
    """A compiled model on all replicas of the strategy."""
    import keras

    import metaaug_tf as ma

    depth, width = map(int, network.split("-"))
    with strategy.scope():
        keras.utils.set_random_seed(0)
        settings = {"policy_network": None} if method == "plain" else {}
        model = ma.MetaAugment(ma.wide_resnet(depth, width, CLASSES, (SIZE, SIZE, 3)), **settings)
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "adam",
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            meta_gradient="exact" if method == "plain" else method,
            jit_compile=False,
        )
    return model


def distributed_batches(strategy):
    """The same global batch again and again, as fit's iterator has it."""
    import tensorflow as tf
    from step import random_batch

    whole = tf.data.Dataset.from_tensors(random_batch(SIZE)).repeat()
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return iter(strategy.experimental_distribute_dataset(whole.with_options(options)))


def reduced_in_a_step(strategy, method):
    """Bytes of each all-reduce in the graph of a step; unknown sizes are those of the global batch."""
    import tensorflow as tf

    model = make_model(strategy, method)
    step = tf.function(lambda batch: strategy.run(model.train_step, args=(batch,)), autograph=False)
    graph = step.get_concrete_function(next(distributed_batches(strategy))).graph
    sizes = []
    for operation in graph.get_operations():
        if operation.type.startswith("Collective") and operation.outputs:
            result = operation.outputs[0]
            elements = 1
            for extent in result.shape:
                elements *= BATCH if extent is None else extent
            sizes.append(elements * result.dtype.size)
    return {"parameters": model.task.count_params(), "sizes": sorted(sizes, reverse=True)}


def count_as_worker():
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    found = {method: reduced_in_a_step(strategy, method) for method in METHODS}
    print(json.dumps(found))


def count():
    """Prints a row for each method."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        workers = [f"127.0.0.1:{held_socket.getsockname()[1]}" for held_socket in sockets]
    processes = []
    try:
        for index in range(2):
            config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            processes.append(start(["count_as_worker"], environment))
        found = json.loads(processes[0].communicate(timeout=900)[0].splitlines()[-1])
    finally:
        for process in processes:
            process.kill()
    print(f"{NETWORK}, batch {BATCH}: {found['plain']['parameters']:,} parameters; two workers")
    print(f"{'step':20s}{'all-reduces':>12s}{'MB':>8s}{'x parameters':>14s}   sizes in bytes")
    for method, row in found.items():
        total, sizes = sum(row["sizes"]), row["sizes"]
        listed = ", ".join(f"{size:,}" for size in sizes)
        print(f"{method:20s}{len(sizes):12d}{total / 1e6:8.2f}{total / 4 / row['parameters']:14.2f}   {listed}")


def time_as_one(devices, method):
    """Takes a step, after one that compiles, for each line read; prints its seconds: passed, and of CPU time."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(devices)])
    model = make_model(strategy, method)
    batches, step = distributed_batches(strategy), model.make_train_function()
    model.build_metrics(batches.element_spec)
    step(batches)
    for _ in sys.stdin:
        started = time.perf_counter(), time.process_time()
        float(step(batches)["loss"])  # waits for it
        print(json.dumps([time.perf_counter() - started[0], time.process_time() - started[1]]), flush=True)


def time_all(devices, methods):
    """Prints a row for each method and number of devices; they take turns, so that other work slows all alike."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(
        f"{NETWORK}, global batch {BATCH}, logical devices of one CPU with {cores} cores, load {load:.1f} at the start"
    )
    columns = f"{'ms':>8s}{'to 1 device':>13s}{'CPU ms':>10s}{'to 1 device':>13s}{'quartiles':>16s}"
    print(f"{'step':20s}{'devices':>8s}{columns}")
    for method in methods:
        processes = {}
        try:
            for number in devices:
                arguments = ["time_as_one", f"--devices={number}", f"--methods={method}"]
                processes[number] = start(arguments, dict(os.environ))
            seconds = {number: [] for number in devices}
            for _ in range(ROUNDS):
                for number, process in processes.items():
                    seconds[number].append(take_turn(process))
        finally:
            for process in processes.values():
                process.kill()
        for number in devices:
            print_times(method, number, seconds[number], seconds[devices[0]])


def take_turn(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def print_times(method, devices, own, first):
    passed, used = ([1000 * turn[i] for turn in own] for i in (0, 1))
    ratios = [[turn[i] / other[i] for turn, other in zip(own, first, strict=True)] for i in (0, 1)]
    low, middle, high = statistics.quantiles(ratios[1], n=4)
    to_first = statistics.median(ratios[0])
    print(
        f"{method:20s}{devices:8d}{statistics.median(passed):8.0f}{to_first:13.2f}{statistics.median(used):10.0f}"
        f"{middle:13.2f}{low:9.2f} - {high:.2f}"
    )


def start(arguments, environment):
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["count", "time", "model", "count_as_worker", "time_as_one"])
    parser.add_argument("--devices", default="1,2,4")
    parser.add_argument("--methods", default="plain,exact")
    arguments = parser.parse_args()
    devices, methods = [int(number) for number in arguments.devices.split(",")], arguments.methods.split(",")
    if arguments.what == "time":
        time_all(devices, methods)
    elif arguments.what == "time_as_one":
        time_as_one(devices[0], methods[0])
    else:
        {"count": count, "model": print_model, "count_as_worker": count_as_worker}[arguments.what]()


if __name__ == "__main__":
    main()
