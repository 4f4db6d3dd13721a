"""PolicyLogger: what stands in TensorBoard's files and in the CSV is what the model had; examples in docstrings run."""

import csv
import inspect
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import random_examples, tiny_task
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import metaaug_tf as ma
from metaaug_tf.callbacks.policy_logger import PolicyLogger


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """(folder, logger, model, Keras's history, tables after each epoch) of two epochs."""
    folder = tmp_path_factory.mktemp("logs")
    examples = random_examples(24, seed=0)
    model = ma.MetaAugment(tiny_task())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.Adam(0.1), loss=loss, jit_compile=False)
    dataset = ma.training_dataset(examples, random_examples(8, seed=1), model.sampler, batch_size=12, seed=5)
    logger, tables = PolicyLogger(folder, examples, seed=5, samples=7), []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: tables.append(model.sampler.probabilities.numpy())
    )
    history = model.fit(dataset, epochs=2, verbose=0, callbacks=[logger, keep]).history
    return folder, logger, model, history, tables


@pytest.fixture(scope="module")
def events(logged):
    accumulator = EventAccumulator(str(logged[0]), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def values(events, tag):
    return [tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)]


def test_scalars_are_the_samplers_shares_and_the_networks_metrics(logged, events):
    _, _, _, history, tables = logged
    for number, name in enumerate(ma.OPERATIONS):
        expected = [(table[number].sum() + table[:, number].sum()) * 7 for table in tables]
        np.testing.assert_allclose(values(events, f"policy/drawn/{name}"), expected, rtol=1e-5)
    logged_names = ("meta_loss", "weight_mean", "weight_min", "weight_max", "effective_sample_size")
    for name in (*logged_names, "policy_gradient_norm"):
        np.testing.assert_allclose(values(events, f"policy/{name}"), history[name], rtol=1e-5)


@pytest.mark.parametrize("tag", ["policy/table", "policy/samples"])
def test_images_differ_between_epochs_and_are_not_blank(events, tag):
    first, second = (tf.io.decode_png(encoded[2]).numpy() for encoded in values(events, tag))
    assert first.shape[-1] == 3 and min(first.shape[:2]) > 200 and len(np.unique(first)) > 20
    assert first.shape != second.shape or (first != second).any()


def test_samples_are_weighted_as_the_network_weighs_them(logged):
    _, logger, model, _, _ = logged
    images, weights, names = logger.weighted_samples()
    assert images.shape == (7, 8, 8, 3) and np.all(np.diff(weights) <= 0)
    pairs, magnitudes = ma.draw_transformations(
        "metaaugment", model.sampler.probabilities.numpy(), 5, int(model.sampler.epoch.numpy()), np.arange(7)
    )
    drawn = [" then ".join(ma.OPERATIONS[k] for k in pair) for pair in pairs.numpy()]
    assert sorted(drawn) == sorted(names)
    embedding = ma.transformation_embedding(pairs, magnitudes).numpy()
    for image, weight, name in zip(images, weights, names, strict=True):
        same = [k for k in range(7) if drawn[k] == name]  # a pair may be drawn twice
        features = model.features(np.repeat(image[None], len(same), axis=0))
        assert np.isclose(model.policy_network(features, embedding[same]), weight, atol=1e-6).any()
    assert len(set(weights)) == 7


def test_csv_has_a_row_per_epoch_and_goes_on_where_training_does(logged):
    folder, logger, model, history, tables = logged
    with (folder / "policy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["Rotate"]) == pytest.approx((tables[1][2].sum() + tables[1][:, 2].sum()) * 7, rel=1e-5)
    assert float(rows[0]["meta_loss"]) == pytest.approx(history["meta_loss"][0])
    logger.set_model(model)
    logger.on_train_begin()
    logger.on_epoch_end(1, {"meta_loss": 0.5})
    logger.on_train_end()
    with (folder / "policy.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row["epoch"] for row in again] == ["0", "1"]
    assert again[1]["meta_loss"] == "0.5" and again[1]["weight_mean"] == ""


def run_example(documented):
    """The names that the example in a class's docstring leaves behind."""
    code, names = textwrap.dedent(inspect.getdoc(documented).split("Example:\n", 1)[1]), {}
    exec(compile(code, documented.__name__, "exec"), names)
    return names


@pytest.mark.long
def test_the_examples_in_the_callbacks_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_example(ma.PolicyLogger)
    assert (tmp_path / "logs/policy.csv").is_file()
    sampler = run_example(ma.SamplerUpdate)["model"].sampler
    assert int(sampler.epoch.numpy()) == 1 and np.ptp(sampler.probabilities.numpy()) > 0
