"""The step on several GPUs, on paper: what it computes, plus the all-reduces that nothing can hide.

Work is counted from the layers; everything in ASSUMPTIONS is an assumption, to be replaced by one's own measurements.
"""

from dataclasses import dataclass

# Of one H100: what convolutions of a training step sustain in bfloat16 (about an eighth of the data sheet's 990
# TFLOP/s). Bandwidths are what a ring all-reduce sustains: each machine sends and receives 2 (n - 1) / n times the
# bytes, whatever the number of its GPUs, over all of its cards together.
ASSUMPTIONS = {
    "sustained FLOP/s of a GPU": 120e12,
    "NVLink in a machine, bytes/s": 300e9,
    "8 cards of 400 Gb/s a machine, bytes/s": 300e9,
    "1 card of 100 Gb/s a machine, bytes/s": 10e9,
    "an all-reduce takes at least, in a machine, s": 50e-6,
    "an all-reduce takes at least, between machines, s": 150e-6,
    "bytes of a gradient's number": 4,
}
# (work relative to a plain step, all-reduces as large as the network, small ones). The work is the forward and
# backward passes counted in docs/meta-gradient.md, the all-reduces are what `scaling.py count` finds: the plain step's
# large one is of the real update's gradient; the meta step needs the virtual update's and the validation loss's too.
# Two more small ones come between steps: is there a batch for all, and does anybody stop.
STEPS = {"plain": (1.0, 1, 4), "exact": (10 / 3, 3, 9), "finite_difference": (3.0, 3, 10)}
# (GPUs, how they are joined, bandwidth, latency)
RINGS = [
    (8, "8", "NVLink in a machine, bytes/s", "an all-reduce takes at least, in a machine, s"),
    (
        32,
        "4 x 8, 8 x 400 Gb/s",
        "8 cards of 400 Gb/s a machine, bytes/s",
        "an all-reduce takes at least, between machines, s",
    ),
    (
        32,
        "4 x 8, 1 x 100 Gb/s",
        "1 card of 100 Gb/s a machine, bytes/s",
        "an all-reduce takes at least, between machines, s",
    ),
]


@dataclass(frozen=True)
class Network:
    """What the model needs to know of a network.

    Attributes:
        name: for the table.
        parameters: how many are trained.
        forward_flops: of one image, two for each multiplication with its addition.
        batches: images a GPU has in a step.
    """

    name: str
    parameters: int
    forward_flops: int
    batches: tuple[int, ...]


def networks():
    """ResNet-50 at 224 pixels and WRN-28-10 at 32, counted from their layers."""
    from metaaug_tf.settings import NetworkSettings
    from metaaug_tf.tasks.registry import build_task

    rows = [("resnet_50", 1000, (224, 224, 3), (64, 256)), ("wrn_28_10", 10, (32, 32, 3), (16, 128))]
    found = []
    for name, classes, shape, batches in rows:
        model = build_task(NetworkSettings(model=name), classes, shape)
        trained = sum(int(variable.value.shape.num_elements()) for variable in model.trainable_variables)
        found.append(Network(name, trained, forward_flops(model), batches))
    return found


def forward_flops(model) -> int:
    """Of the convolutions and Dense layers, for one image."""
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width = layer.output.shape[1:3]
            total += 2 * int(layer.kernel.value.shape.num_elements()) * height * width
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * int(layer.kernel.value.shape.num_elements())
    return total


def all_reduce_seconds(number_of_bytes: float, gpus: int, bandwidth: float, latency: float) -> float:
    """A ring all-reduce, which sends 2 (n - 1) / n times the bytes (Patarasuk and Yuan, 2009)."""
    return latency + 2 * (gpus - 1) / gpus * number_of_bytes / bandwidth


def step_seconds(network: Network, batch: int, kind: str, ring) -> tuple[float, float]:
    """(computing, reducing) in seconds; nothing of the reducing is taken to overlap with the computing."""
    gpus, _, *names = ring
    bandwidth, latency = (ASSUMPTIONS[name] for name in names)
    work, large, small = STEPS[kind]
    computing = work * 3 * network.forward_flops * batch / ASSUMPTIONS["sustained FLOP/s of a GPU"]
    size = network.parameters * ASSUMPTIONS["bytes of a gradient's number"]
    return computing, large * all_reduce_seconds(size, gpus, bandwidth, latency) + small * latency


def print_model():
    print("Assumptions:")
    for name, value in ASSUMPTIONS.items():
        print(f"  {name}: {value:g}")
    for network in networks():
        gigaflops = network.forward_flops / 1e9
        print(f"\n{network.name}: {network.parameters:,} parameters, {gigaflops:.1f} GFLOP forward an image")
        print(f"{'GPUs':22s}{'images/GPU':>11s}{'step':>19s}{'computing':>12s}{'reducing':>10s}{'efficiency':>12s}")
        for ring in RINGS:
            for batch in network.batches:
                for kind in STEPS:
                    computing, reducing = step_seconds(network, batch, kind, ring)
                    times = f"{1000 * computing:9.1f} ms{1000 * reducing:7.1f} ms"
                    print(f"{ring[1]:22s}{batch:11d}{kind:>19s}{times}{computing / (computing + reducing):11.0%}")
