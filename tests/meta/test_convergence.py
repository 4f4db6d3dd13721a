"""benchmarks/convergence.py: its numbers against the procedure written out in NumPy, its fit, its files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import convergence

RATES = (0.5, 0.3, 20.0)


def task_pass(w, inputs):
    hidden = np.tanh(inputs @ w[0] + w[1])
    return hidden, hidden @ w[2] + w[3]


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def weights_of(theta, features, embedding):
    joined = [np.tanh(features @ theta[0] + theta[1]), np.tanh(embedding @ theta[2] + theta[3])]
    raw = 1 / (1 + np.exp(-(np.concatenate(joined, axis=1) @ theta[4] + theta[5])[:, 0]))
    return raw / raw.sum()


def task_step(w, theta, training, rate):
    """w - rate * grad_w sum_i p_i l_i(w), backpropagated by hand."""
    inputs, labels, embedding = training
    hidden, logits = task_pass(w, inputs)
    p = weights_of(theta, hidden, embedding)
    at_logits = p[:, None] * (np.exp(log_softmax(logits)) - np.eye(convergence.CLASSES)[labels])
    at_hidden = at_logits @ w[2].T * (1 - hidden**2)
    gradients = [inputs.T @ at_hidden, at_hidden.sum(0), hidden.T @ at_logits, at_logits.sum(0)]
    return [value - rate * gradient for value, gradient in zip(w, gradients, strict=True)]


def validation_loss(w, theta, training, validation, rate):
    inputs, labels = validation
    _, logits = task_pass(task_step(w, theta, training, rate), inputs)
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean()


def central_differences(w, theta, training, validation, rate, h=1e-5):
    """Gradient of the validation loss after the virtual update, entry by entry of theta."""
    gradients = [np.zeros_like(part) for part in theta]
    for part, gradient in zip(theta, gradients, strict=True):
        for index in np.ndindex(part.shape):
            kept, losses = part[index], []
            for move in (h, -h):
                part[index] = kept + move
                losses.append(validation_loss(w, theta, training, validation, rate))
            part[index], gradient[index] = kept, (losses[0] - losses[1]) / (2 * h)
    return gradients


def numpy_of(tensors):
    return [np.array(tensor) for tensor in tensors]


@pytest.fixture(scope="module")
def problem():
    """Networks, step and data at a start away from the one that the benchmark draws."""
    rng = np.random.default_rng(7)
    task, policy = convergence.make_task(), convergence.SmoothPolicy()
    training, validation = convergence.make_data(rng)
    picks = np.stack([rng.integers(0, n, convergence.BATCH) for n in (convergence.TRAINING, convergence.VALIDATION)])
    return task, policy, convergence.make_step(task, policy), training, validation, picks


def begin(task, policy):
    rng = np.random.default_rng(11)
    for variable in task.variables + policy.variables:
        variable.assign(rng.normal(size=variable.shape))
    return numpy_of(task.trainable_variables), numpy_of(policy.trainable_variables)


def test_step_is_the_procedure_in_numpy_with_central_differences(problem):
    task, policy, step, training, validation, picks = problem
    w, theta = begin(task, policy)
    value = float(step(training, validation, tf.constant(picks), tf.constant(RATES, tf.float64)))
    everything, held_out = numpy_of(training), numpy_of(validation)
    whole = central_differences(w, theta, everything, held_out, RATES[0])
    assert value == pytest.approx(sum(np.sum(part**2) for part in whole), rel=1e-6)

    batch, small = [array[picks[0]] for array in everything], [array[picks[1]] for array in held_out]
    gradients = central_differences(w, theta, batch, small, RATES[0])
    moved = [part - RATES[2] * gradient for part, gradient in zip(theta, gradients, strict=True)]
    for expected, variable in zip(moved, policy.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-7)
    # The task's step takes the weights of the policy that has moved.
    for expected, variable in zip(task_step(w, moved, batch, RATES[1]), task.trainable_variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected, atol=1e-7)


def test_the_norm_is_that_of_the_public_meta_gradient(problem):
    task, policy, step, training, validation, picks = problem
    begin(task, policy)
    gradients = ma.meta_gradient(task, policy, training, validation, RATES[0], method="exact")
    still = tf.constant([RATES[0], 0.0, 0.0], tf.float64)
    value = float(step(training, validation, tf.constant(picks), still))
    assert value == pytest.approx(sum(float(tf.reduce_sum(part**2)) for part in gradients), rel=1e-9)


def test_slope_of_synthetic_rates():
    horizons = np.array([32, 64, 128, 256])
    exact = np.outer([1.0, 3.0, 0.2], horizons**-0.5)
    slope, half, intercept = convergence.fit_slope(horizons, exact)
    assert (slope, half) == pytest.approx((-0.5, 0.0), abs=1e-9)
    assert intercept == pytest.approx(np.log(0.6) / 3, abs=1e-9)
    # Slopes -0.4, -0.5, -0.6: mean -0.5, half width t(0.975, 2) * 0.1 / sqrt(3).
    apart = np.stack([horizons**-0.4, horizons**-0.5, horizons**-0.6])
    assert convergence.fit_slope(horizons, apart)[:2] == pytest.approx((-0.5, 4.303 * 0.1 / 3**0.5), abs=1e-9)


def test_rates_fall_with_the_horizon_and_are_capped():
    variant = convergence.Variant("task rate", True)
    assert variant.rates(1)[1] == 1.0
    virtual, alpha, beta = np.array(variant.rates(4096))
    assert virtual == alpha
    np.testing.assert_allclose(np.array(variant.rates(4096 * 4)), np.array([virtual, alpha, beta]) / 2)
    assert convergence.Variant("constant", False).rates(64)[::2] == (convergence.CONSTANT_VIRTUAL_RATE, 0.0)


@pytest.mark.long
def test_writes_figure_and_rows(tmp_path, capsys):
    files = ["--figure", str(tmp_path / "figure.png"), "--json", str(tmp_path / "rows.json")]
    convergence.main(["--seeds", "2", "--max-steps", "64", *files])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(rows) == len(convergence.VARIANTS) * 2 * 2
    assert all(0 < row["min"] <= row["mean"] < np.inf for row in rows)
    assert "slope of the mean" in capsys.readouterr().out
