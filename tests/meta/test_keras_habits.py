"""What people do with a Keras model: optimizers, accumulation, export, *_on_batch, arrays given to fit."""

import inspect

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

TRAIN, VALIDATION = helpers.random_examples(24, 0), helpers.random_examples(8, 1)


def compiled(optimizer="sgd", policy_optimizer="adam", task=None, **settings):
    model = ma.MetaAugment(task or helpers.tiny_task(), **settings.pop("wrap", {}))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, policy_optimizer, loss=loss, jit_compile=False, **settings)
    return model


def fit(model, **settings):
    return model.fit(ma.training_dataset(TRAIN, VALIDATION, model.sampler, batch_size=8), verbose=0, **settings).history


def optimizers():
    """Every class of keras.optimizers that takes a learning rate, by name."""
    for name in dir(keras.optimizers):
        value = getattr(keras.optimizers, name)
        if inspect.isclass(value) and issubclass(value, keras.optimizers.Optimizer) and value.__name__ != "Optimizer":
            yield name


@pytest.mark.long
@pytest.mark.parametrize("name", optimizers())
def test_every_optimizer_trains_as_in_plain_keras_or_is_rejected(name):
    def made():
        cls = getattr(keras.optimizers, name)
        if name == "LossScaleOptimizer":
            return cls(keras.optimizers.SGD(0.1))
        if name == "MultiOptimizer":
            return cls(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1)))
        return cls(learning_rate=0.01)

    if name in ("LossScaleOptimizer", "MultiOptimizer"):
        with pytest.raises(ma.UserError, match=name):
            compiled(made())
        return
    assert np.isfinite(fit(compiled(made()))["loss"]).all()
    assert_plain(made)


def assert_plain(made, steps=4):
    """Without a policy the steps are those of plain Keras."""
    model, plain = compiled(made(), wrap={"policy_network": None}), helpers.tiny_task()
    plain.compile(made(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    plain.optimizer.build(plain.trainable_variables)  # ScheduleFreeAdamW loses the variables if built in the first step
    for seed in range(steps):
        inputs, labels = helpers.random_batch(seed=seed)
        model.train_step((inputs, labels))
        plain.train_on_batch(inputs["images"], labels)
        for mine, theirs in zip(model.task.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_gradient_accumulation_is_that_of_plain_keras():
    assert_plain(lambda: keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2))


def test_with_accumulation_turns_of_the_policy_are_counted_in_batches():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    model = compiled(optimizer, meta_every=3, policy_warmup_steps=1)
    step, turns, moved = model.make_train_function(), [], []
    batches = iter(tf.data.Dataset.from_tensors(helpers.random_batch()).repeat())
    for _ in range(6):
        policy, task = (helpers.values_of(part.trainable_variables) for part in (model.policy_network, model.task))
        step(batches)
        pairs = ((policy, model.policy_network, turns), (task, model.task, moved))
        for before, part, changes in pairs:
            after = helpers.values_of(part.trainable_variables)
            changes.append(any((a != b).any() for a, b in zip(before, after, strict=True)))
    assert turns == [False, True, False, False, True, False]
    assert moved == [False, True] * 3


def test_the_exported_model_is_the_task(tmp_path):
    model = compiled()
    fit(model)
    wanted = model.predict(VALIDATION.images, verbose=0)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(loaded.serve(tf.constant(VALIDATION.images, tf.float32)), wanted, atol=1e-5)


def test_single_batches():
    model, twin = compiled(), compiled()
    for seed in range(3):
        inputs, labels = helpers.random_batch(seed=seed)
        arrays = {name: value.numpy() for name, value in inputs.items()}
        logs = model.train_on_batch(arrays, labels.numpy(), return_dict=True)
        twin.reset_metrics()
        assert logs["loss"] == pytest.approx(float(twin.train_step((inputs, labels))["loss"]), abs=1e-6)
    for mine, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert model.predict_on_batch(VALIDATION.images).shape == (8, 4)
    assert np.isfinite(model.test_on_batch(VALIDATION.images, VALIDATION.labels)).all()
    with pytest.raises(ma.UserError, match="ma.training_batches"):
        model.train_on_batch(TRAIN.images, TRAIN.labels)


def test_a_dataset_of_arrays_without_a_spec_is_told_where_to_go():
    class Arrays(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return TRAIN.images[:4], TRAIN.labels[:4]

    with pytest.raises(ma.UserError, match="ma.training_batches"):
        compiled().fit(Arrays(), verbose=0)


def test_an_error_handled_before_is_not_taken_for_the_steps_own():
    model = compiled(run_eagerly=True)
    inputs, labels = helpers.random_batch()
    try:
        raise ma.UserError("earlier")
    except ma.UserError:
        with pytest.raises(Exception) as found:
            model.train_on_batch({**inputs, "images": inputs["images"][:, :3]}, labels)
    assert not isinstance(found.value, ma.UserError)


def test_steps_per_execution_must_be_a_number():
    with pytest.raises(ma.UserError, match="got 'auto'"):
        compiled(steps_per_execution="auto")


@pytest.mark.parametrize(
    "given",
    [
        {"x": TRAIN.images, "y": TRAIN.labels, "validation_split": 0.2},
        {"x": TRAIN.images.tolist(), "y": TRAIN.labels.tolist()},
        {"x": {"images": TRAIN.images}, "y": TRAIN.labels},
        {},
    ],
)
def test_arrays_given_to_fit_are_told_where_to_go(given):
    with pytest.raises(ma.UserError, match="ma.training_dataset"):
        compiled().fit(**given, verbose=0)


def test_arguments_of_arrays_are_rejected_with_batches():
    model = compiled()
    data = ma.training_dataset(TRAIN, VALIDATION, model.sampler, batch_size=8)
    for name, value in {"batch_size": 8, "validation_split": 0.1}.items():
        with pytest.raises(ma.UserError, match=f"does not take {name}"):
            model.fit(data, **{name: value})


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, images):
        return self.dense(images)


@pytest.mark.parametrize("task", [lambda: keras.Sequential([keras.layers.Dense(2)]), Subclassed])
def test_a_task_without_a_graph_is_rejected_for_that(task):
    with pytest.raises(ma.UserError, match="no layer graph"):
        ma.MetaAugment(task())
