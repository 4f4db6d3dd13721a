"""Microseconds of one core per image: metaaug_tf's operations beside Pillow's, Keras's and other libraries'.

    python benchmarks/augment.py [--sizes 32 224] [--repeats 15] [--figure docs/images/augment_benchmark.png]

Pins itself to one core, and counts the process's CPU time, which other processes do not add to. Every contender that
can be imported runs in turn within each repeat; the others are named and left out. For each: median over the repeats,
quartiles, and Pillow's and Keras's time divided by the contender's in the same repeat, with quartiles too.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Before TensorFlow counts the cores for its thread pools.
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

# Before TensorFlow: torchvision 0.28 with torch 2.13 crashes when it is imported after TensorFlow 2.21.
with contextlib.suppress(ImportError, OSError):
    import torchvision  # noqa: F401

import numpy as np  # noqa: E402
from augment_peers import CONTENDERS  # noqa: E402

from metaaug_tf.ops import OPERATIONS  # noqa: E402

BATCH = 128
REFERENCES = ("Pillow", "keras.layers")
MIN_SECONDS = 0.05


def photo_like_images(size, rng):
    """Smooth random colours with a little noise: [BATCH, size, size, 3] uint8, of all grey levels as photographs."""
    from PIL import Image

    coarse = rng.integers(0, 256, (BATCH, 6, 6, 3)).astype(np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse]
    return np.clip(np.stack(smooth) + rng.normal(0, 8, (BATCH, size, size, 3)), 0, 255).astype(np.uint8)


def available_contenders():
    for contender in CONTENDERS:
        try:
            yield contender()
        except (ImportError, OSError) as error:
            print(f"left out: {contender.name} ({error})")


def microseconds(function):
    """CPU time per image over as many calls as fill MIN_SECONDS: a steady state, as in a pipeline."""
    start, calls = time.process_time(), 0
    while calls == 0 or time.process_time() - start < MIN_SECONDS:
        function()
        calls += 1
    return (time.process_time() - start) / (calls * BATCH) * 1e6


def measure(functions, repeats):
    """{name: [repeats] microseconds per image}, the functions interleaved, after a first run each that compiles."""
    compilation = {}
    for name, function in functions.items():
        start = time.perf_counter()
        function()
        compilation[name] = time.perf_counter() - start
    rounds = [{name: microseconds(function) for name, function in functions.items()} for _ in range(repeats)]
    return {name: np.array([round_[name] for round_ in rounds]) for name in functions}, compilation


def ratio_columns(ratios):
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return f"{middle:15.2f} {low:7.2f} {high:7.2f}"


def print_pairs(size, times, compilation):
    print(f"\ntwo random operations of the 14, {size} x {size} x 3, batch of {BATCH}: microseconds per image and core")
    references = [name for name in REFERENCES if name in times]
    headings = "".join(f"{'x ' + name:>15} {'quartiles':>15}" for name in references)
    print(f"{'':18} {'median':>9} {'quartiles':>19}{headings} {'first call':>11}")
    for name, values in times.items():
        low, high = np.quantile(values, [0.25, 0.75])
        ratios = "".join(ratio_columns(times[reference] / values) for reference in references)
        print(f"{name:18} {np.median(values):9.1f} {low:9.1f} {high:9.1f}{ratios} {compilation[name]:9.1f} s")


def print_operations(size, table):
    print(f"\neach operation alone, {size} x {size} x 3: median microseconds per image and core")
    print(f"{'':14}" + "".join(f"{name[:17]:>18}" for name in table))
    for operation in OPERATIONS:
        row = (table[name].get(operation) for name in table)
        print(f"{operation:14}" + "".join(f"{'-' if value is None else f'{value:.1f}':>18}" for value in row))


def benchmark_pairs(contenders, images, rng, repeats):
    pairs = rng.integers(0, 14, (BATCH, 2)).astype(np.int32)
    magnitudes = rng.uniform(-10, 10, (BATCH, 2)).astype(np.float32)
    functions = {contender.name: contender.pairs(images, pairs, magnitudes) for contender in contenders}
    return measure({name: function for name, function in functions.items() if function}, repeats)


def benchmark_operations(contenders, images, repeats):
    functions = {contender.name: contender.operations(images) for contender in contenders}
    table = {name: {} for name in functions}
    for operation in OPERATIONS:
        here = {name: made[operation] for name, made in functions.items() if operation in made}
        for name, values in measure(here, repeats)[0].items():
            table[name][operation] = np.median(values)
    return table


def draw_figure(path, results):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(6 * len(results), 3.4))
    for axis, (size, times) in zip(np.atleast_1d(axes), results.items(), strict=True):
        names = sorted(times, key=lambda name: np.median(times[name]), reverse=True)
        medians = [np.median(times[name]) for name in names]
        bars = axis.barh(names, medians, color=["tab:green" if name == "metaaug_tf" else "tab:gray" for name in names])
        axis.bar_label(bars, [f"{value:,.0f}" for value in medians], padding=3)
        axis.set(xscale="log", xlabel="CPU microseconds per image, one core", title=f"two operations, {size} x {size}")
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="sides of the images in pixels")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--pairs-only", action="store_true", help="leave out each operation alone")
    parser.add_argument("--figure", type=Path, help="where to draw the table of pairs")
    arguments = parser.parse_args()
    contenders, results = list(available_contenders()), {}
    for size in arguments.sizes:
        rng = np.random.default_rng(0)
        images = photo_like_images(size, rng)
        results[size], compilation = benchmark_pairs(contenders, images, rng, arguments.repeats)
        print_pairs(size, results[size], compilation)
        if not arguments.pairs_only:
            print_operations(size, benchmark_operations(contenders, images, max(3, arguments.repeats // 3)))
    if arguments.figure:
        draw_figure(arguments.figure, results)


if __name__ == "__main__":
    main()
