"""Squared gradient norm of the validation loss against the number of steps, on a smooth problem in float64.

    python benchmarks/convergence.py [--seeds 10] [--max-steps 2048] [--figure docs/images/convergence.png]
                                     [--json docs/convergence.json]

The procedure is the package's: mini-batch, exact meta-gradient by ma.meta_gradient, policy step, weights recomputed,
task step; plain gradient descent for both. A horizon T fixes the step sizes before the run, as analyses of such
procedures do: task rate alpha = min(1, c1/sqrt(T)), policy rate beta = min(beta_max, c2/sqrt(T)).

What is averaged over all steps t < T: G_t = |grad_theta L_val(w_t - alpha grad_w sum_i p_i(theta_t) l_i(w_t))|^2, with
the sums over the whole training and the whole validation set, so that it holds no mini-batch noise.

G_t holds a factor alpha^2 of the virtual update's rate. Where that rate falls as 1/sqrt(T), G falls as 1/T whatever
the policy does. So the same is run with the virtual rate set apart and constant, and each of both also with the policy
held at its start (beta = 0).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import metaaug_tf as ma  # noqa: E402
from metaaug_tf.meta.forward import FunctionalTask, training_forward  # noqa: E402
from metaaug_tf.meta.gradient import exact  # noqa: E402
from metaaug_tf.meta.losses import default_loss, per_sample_loss  # noqa: E402
from metaaug_tf.meta.weights import normalised_weights  # noqa: E402
from metaaug_tf.tasks.features import with_features  # noqa: E402

CLASSES, WIDTH, HIDDEN, POLICY_HIDDEN = 3, 4, 6, 6
TRAINING, VALIDATION, BATCH = 96, 48, 16
# The first operations stand for harmful ones: they mirror the input, which then looks like another class.
HARMFUL = 5
# c1, c2, largest beta, and the virtual rate where it is set apart.
TASK_SCALE, POLICY_SCALE, LARGEST_POLICY_RATE, CONSTANT_VIRTUAL_RATE = 4.0, 50.0, 10.0, 0.5
FIRST_HORIZON = 32
# 97.5% points of Student's t for 1 to 19 degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
STUDENT += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093)


@dataclass(frozen=True)
class Variant:
    """One way to run the procedure.

    Attributes:
        virtual: "task rate", or "constant" where the virtual update's rate is set apart.
        learns: whether the policy takes steps.
    """

    virtual: str
    learns: bool

    @property
    def name(self):
        return f"virtual rate = {self.virtual}, policy {'learns' if self.learns else 'held'}"

    def rates(self, horizon: int) -> tuple[float, float, float]:
        """Rates of the virtual, the task's and the policy's update for T = horizon."""
        alpha = min(1.0, TASK_SCALE / horizon**0.5)
        beta = min(LARGEST_POLICY_RATE, POLICY_SCALE / horizon**0.5)
        return alpha if self.virtual == "task rate" else CONSTANT_VIRTUAL_RATE, alpha, beta * self.learns


VARIANTS = [Variant(virtual, learns) for virtual in ("task rate", "constant") for learns in (True, False)]


class SmoothPolicy(keras.Model):
    """The additive policy head with tanh for ReLU, float64: (features [B, F], embedding [B, 28]) -> [B] in (0, 1)."""

    def __init__(self):
        """Creates the variables."""
        super().__init__(dtype="float64", name="smooth_policy")
        dense = keras.layers.Dense
        self.sample = dense(POLICY_HIDDEN, activation="tanh", dtype="float64", name="sample")
        self.transformation = dense(POLICY_HIDDEN, activation="tanh", dtype="float64", name="transformation")
        self.weight = dense(1, activation="sigmoid", dtype="float64", name="weight")
        self(tf.zeros([1, HIDDEN], tf.float64), tf.zeros([1, 2 * len(ma.OPERATIONS)], tf.float64))

    def call(self, features, embedding):
        """Weights [B]."""
        joined = [self.sample(features), self.transformation(embedding)]
        return self.weight(tf.concat(joined, axis=-1))[:, 0]


def make_task() -> keras.Model:
    """[B, WIDTH] -> logits [B, CLASSES] through one tanh layer, float64."""
    inputs = keras.Input((WIDTH,), dtype="float64")
    hidden = keras.layers.Dense(HIDDEN, activation="tanh", dtype="float64")(inputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float64")(hidden))


def make_data(rng) -> tuple:
    """Training (inputs [N, WIDTH], labels [N], embedding [N, 28]) and validation (inputs, labels), as tensors.

    Each class is a Gaussian; each training input keeps one drawn pair of operations.
    """
    centres = rng.normal(0, 1.5, (CLASSES, WIDTH))

    def draw(count):
        labels = rng.integers(0, CLASSES, count)
        return centres[labels] + rng.normal(0, 1, (count, WIDTH)), labels

    inputs, labels = draw(TRAINING)
    pairs = rng.integers(0, len(ma.OPERATIONS), (TRAINING, 2)).astype(np.int32)
    magnitudes = rng.uniform(0, 10, (TRAINING, 2)).astype(np.float32)
    inputs[pairs[:, 0] < HARMFUL] *= -1
    embedding = tf.cast(ma.transformation_embedding(pairs, magnitudes), tf.float64)
    validation = tuple(tf.constant(array) for array in draw(VALIDATION))
    return (tf.constant(inputs), tf.constant(labels), embedding), validation


def start(variables, rng) -> None:
    """Draws the variables again: kernels normal with variance 1 / fan-in, biases 0."""
    for variable in variables:
        scale = variable.shape[0] ** -0.5 if len(variable.shape) == 2 else 0.0
        variable.assign(scale * rng.normal(size=variable.shape))


def make_step(task, policy) -> Callable:
    """One step of the procedure as one tf.function, of the parts that ma.meta_gradient is made of.

    Returns:
        step(training, validation, picks [2, BATCH], rates [3]) -> G_t, float64 scalar, before the step. Moves policy
        and task by the mini-batches that picks names; rates as Variant.rates gives.
    """
    wrapped = FunctionalTask(with_features(task), per_sample_loss(default_loss(task)))

    def passed(training):
        inputs, labels, embedding = training
        forward = training_forward(wrapped, inputs, labels)
        return forward, lambda: normalised_weights(policy(forward.features, embedding))

    def meta_gradients(forward, weights, validation, rate):
        return exact(forward, weights, policy.trainable_variables, validation, rate).gradients

    @tf.function
    def step(training, validation, picks, rates):
        whole = meta_gradients(*passed(training), validation, rates[0])
        squared_norm = tf.add_n([tf.reduce_sum(gradient**2) for gradient in whole])
        forward, weights = passed([tf.gather(array, picks[0]) for array in training])
        batch = [tf.gather(array, picks[1]) for array in validation]
        descend(policy.trainable_variables, meta_gradients(forward, weights, batch, rates[0]), rates[2])
        descend(task.trainable_variables, forward.gradient(weights()), rates[1])
        return squared_norm

    return step


def make_stretch(step) -> Callable:
    """FIRST_HORIZON steps as one compiled call; every horizon is a multiple of it.

    Returns:
        stretch(training, validation, picks [FIRST_HORIZON, 2, BATCH], rates [3]) -> G_t [FIRST_HORIZON].
    """

    @tf.function(jit_compile=True)
    def stretch(training, validation, picks, rates):
        values = tf.TensorArray(tf.float64, FIRST_HORIZON)
        for t in tf.range(FIRST_HORIZON):
            values = values.write(t, step(training, validation, picks[t], rates))
        return values.stack()

    return stretch


def descend(variables, gradients, rate) -> None:
    """One step of plain gradient descent."""
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)


def run(stretch, variables, variant: Variant, horizon: int, seed: int) -> np.ndarray:
    """G_t for t < horizon, [horizon], of one run from its start; the seed draws data, start and mini-batches."""
    rng = np.random.default_rng(seed)
    training, validation = make_data(rng)
    start(variables, rng)
    rates = tf.constant(variant.rates(horizon), tf.float64)
    picks = np.stack([rng.integers(0, count, (horizon, BATCH)) for count in (TRAINING, VALIDATION)], axis=1)
    parts = np.split(picks, horizon // FIRST_HORIZON)
    return np.concatenate([stretch(training, validation, tf.constant(part), rates) for part in parts])


def measure(seeds: int, horizons: list[int]) -> list[dict]:
    """A row for every variant, horizon and seed: the mean of G_t over the run's steps and the least."""
    task, policy = make_task(), SmoothPolicy()
    stretch, variables = make_stretch(make_step(task, policy)), task.trainable_variables + policy.trainable_variables
    rows = []
    for variant in VARIANTS:
        for horizon in horizons:
            for seed in range(seeds):
                values = run(stretch, variables, variant, horizon, seed)
                row = {"variant": variant.name, "T": horizon, "seed": seed}
                rows.append(row | {"mean": float(values.mean()), "min": float(values.min())})
    return rows


def fit_slope(horizons, values) -> tuple[float, float, float]:
    """Least-squares slope of log values against log horizons: (mean over seeds, 95% interval's half width, intercept).

    The interval is Student's over the seeds' own slopes: that of the seeds' spread, not of the power law's fit.

    Args:
        horizons: [H].
        values: [seeds, H], positive; at least 2 seeds.
    """
    slopes, intercepts = np.polyfit(np.log(horizons), np.log(np.asarray(values)).T, 1)
    half = STUDENT[len(slopes) - 2] * slopes.std(ddof=1) / len(slopes) ** 0.5
    return float(slopes.mean()), float(half), float(intercepts.mean())


def series(rows, variant: Variant, statistic: str) -> tuple[list[int], np.ndarray]:
    """Horizons [H] and values [seeds, H] of one variant; statistic is "mean" or "min"."""
    chosen = [row for row in rows if row["variant"] == variant.name]
    horizons, seeds = (sorted({row[key] for row in chosen}) for key in ("T", "seed"))
    table = {(row["seed"], row["T"]): row[statistic] for row in chosen}
    return horizons, np.array([[table[seed, horizon] for horizon in horizons] for seed in seeds])


def geometric_mean(values) -> np.ndarray:
    """Over the seeds: [seeds, H] -> [H]."""
    return np.exp(np.log(values).mean(axis=0))


def print_tables(rows) -> None:
    """A table for each variant: geometric means over the seeds, and the slopes with their 95% intervals."""
    for variant in VARIANTS:
        print(
            f"\n{variant.name}\n{'T':>6} {'mean over t < T':>16} {'least .. largest seed':>24} {'min over t < T':>16}"
        )
        (horizons, means), (_, least) = (series(rows, variant, statistic) for statistic in ("mean", "min"))
        for i, horizon in enumerate(horizons):
            spread = f"{means[:, i].min():.2e} .. {means[:, i].max():.2e}"
            print(f"{horizon:6} {geometric_mean(means)[i]:16.2e} {spread:>24} {geometric_mean(least)[i]:16.2e}")
        for name, values in (("mean", means), ("min", least)):
            slope, half, _ = fit_slope(horizons, values)
            print(f"slope of the {name}: {slope:.2f} +- {half:.2f}")


def draw_panel(axes, rows, virtual: str) -> None:
    """One virtual rate: the mean of G_t over t with the policy learning and held, the fits and a 1/sqrt(T) line."""
    for variant, color in zip([v for v in VARIANTS if v.virtual == virtual], ("tab:blue", "tab:gray"), strict=True):
        horizons, values = series(rows, variant, "mean")
        middle = geometric_mean(values)
        slope, half, intercept = fit_slope(horizons, values)
        errors = [middle - values.min(axis=0), values.max(axis=0) - middle]
        axes.errorbar(horizons, middle, errors, fmt="o", color=color, capsize=3, markersize=4)
        label = f"policy {'learns' if variant.learns else 'held'}: slope {slope:.2f} ± {half:.2f}"
        axes.plot(horizons, np.exp(intercept) * np.power(horizons, slope), color=color, label=label)
        if variant.learns:
            line = middle[0] * (np.array(horizons) / horizons[0]) ** -0.5
            axes.plot(horizons, line, "--", color="black", linewidth=1, label="1/√T, through the first point")
    rate = f"min(1, {TASK_SCALE:g}/√T)" if virtual == "task rate" else f"{CONSTANT_VIRTUAL_RATE:g}"
    axes.set(xscale="log", yscale="log", xlabel="steps T", title=f"virtual rate {rate}")
    axes.set_xticks(horizons, [str(horizon) for horizon in horizons])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    axes.grid(which="major", alpha=0.3)


def draw(rows, path: Path) -> None:
    """Writes the figure: a panel for each virtual rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
    for axes, virtual in zip(panels, ("task rate", "constant"), strict=True):
        draw_panel(axes, rows, virtual)
    panels[0].set_ylabel("squared norm of the meta-gradient,\nmean over t < T")
    seeds = len({row["seed"] for row in rows})
    figure.supxlabel(f"points: geometric mean over {seeds} seeds; bars: from the least to the largest seed", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def report(rows) -> dict:
    """What the JSON file holds: settings, fits and raw rows."""
    slopes = {}
    for variant in VARIANTS:
        for statistic in ("mean", "min"):
            slope, half, _ = fit_slope(*series(rows, variant, statistic))
            slopes.setdefault(variant.name, {})[statistic] = {"slope": slope, "half_width_95": half}
    settings = {"c1": TASK_SCALE, "c2": POLICY_SCALE, "beta_max": LARGEST_POLICY_RATE}
    settings |= {"constant_virtual_rate": CONSTANT_VIRTUAL_RATE, "batch": BATCH}
    settings |= {"training": TRAINING, "validation": VALIDATION}
    return {"settings": settings, "slopes": slopes, "rows": rows}


def main(arguments=None) -> None:
    """Runs, prints the tables and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="2 to 20")
    parser.add_argument(
        "--max-steps", type=int, default=2048, help=f"horizons {FIRST_HORIZON}, twice that, ... to this"
    )
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/images/convergence.png")
    parser.add_argument("--json", type=Path, default=ROOT / "docs/convergence.json")
    options = parser.parse_args(arguments)
    if not 2 <= options.seeds <= len(STUDENT) + 1 or options.max_steps < 2 * FIRST_HORIZON:
        parser.error(f"needs 2 to {len(STUDENT) + 1} seeds and at least {2 * FIRST_HORIZON} steps")
    began = time.perf_counter()
    doublings = int(np.log2(options.max_steps / FIRST_HORIZON))
    rows = measure(options.seeds, [FIRST_HORIZON * 2**i for i in range(doublings + 1)])
    print_tables(rows)
    draw(rows, options.figure)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report(rows)).replace('{"variant"', '\n{"variant"') + "\n")
    print(f"\n{time.perf_counter() - began:.0f} s; written: {options.figure}, {options.json}")


if __name__ == "__main__":
    main()
