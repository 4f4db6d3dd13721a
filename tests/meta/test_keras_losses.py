"""Every loss of keras.losses in a step of equal weights: value, gradient and update are those of plain Keras."""

import functools
import inspect

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma

B, CLASSES = 6, 3
RATE = 0.1


def is_loss(value):
    if inspect.isclass(value):
        return issubclass(value, keras.losses.Loss) and value is not keras.losses.Loss
    return inspect.isfunction(value) and value not in (
        keras.losses.get,
        keras.losses.serialize,
        keras.losses.deserialize,
    )


NAMES = [
    *(name for name in dir(keras.losses) if is_loss(getattr(keras.losses, name))),
    "crossentropy",
    "ce",
    "mse",
    "bce",
]
QUICK = "CategoricalCrossentropy", "binary_crossentropy", "crossentropy", "Circle", "dice"
# Rejected: they have no loss of each sample alone.
REJECTED = {"Circle": "of its own", "circle": "of its own", "Dice": "one number", "dice": "one number"}
REJECTED |= {"Tversky": "one number", "tversky": "one number"}


def given(name):
    """The loss by name, and as a function or an object."""
    value = getattr(keras.losses, name, name)
    if inspect.isclass(value):
        value = value(q=0.5) if name == "CategoricalGeneralizedCrossEntropy" else value()
    elif name == "categorical_generalized_cross_entropy":
        value = functools.partial(value, q=0.5)
    # Keras does not know this one by name.
    return [value] if name.lower().startswith("categoricalgen") or "generalized" in name else [name, value]


def task(width, activation="softmax"):
    keras.utils.set_random_seed(4)
    images = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    activation = "sigmoid" if width == 1 else activation
    return keras.Model(images, keras.layers.Dense(width, activation=activation)(x))


def label_forms(width):
    classes = np.arange(B) % max(width, 2)
    one_hot = np.eye(width)[classes] if width > 1 else classes[:, None]
    for form in (classes, classes[:, None], one_hot):
        for dtype in (np.int32, np.float32):
            yield form.astype(dtype)


IMAGES = np.random.default_rng(0).integers(0, 256, (B, 4, 4, 3), dtype=np.uint8)
WEIGHT = np.linspace(0, 2, B, dtype=np.float32)


class Both:
    """The same task with the same loss in plain Keras and in MetaAugment, started again for each step."""

    def __init__(self, loss, width, **settings):
        self.plain, self.own = task(width), ma.MetaAugment(task(width), policy_network=None)
        self.start = self.plain.get_weights()
        self.plain.compile(keras.optimizers.SGD(RATE), loss=loss, run_eagerly=True, **settings)
        self.own.compile(keras.optimizers.SGD(RATE), loss=loss, jit_compile=False, **settings)

    def assert_same_step(self, labels, weight=None):
        """Returns whether plain Keras takes the labels; if so the step has to be the same."""
        self.plain.set_weights(self.start)
        self.own.task.set_weights(self.start)
        self.own.reset_metrics()
        try:
            wanted = float(np.ravel(self.plain.train_on_batch(IMAGES, labels, sample_weight=weight))[0])
        except Exception:
            return False
        assert own_loss(self.own, labels, weight) == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True)
        for mine, theirs in zip(self.own.task.get_weights(), self.plain.get_weights(), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
        return True


def own_loss(model, labels, weight=None):
    inputs, _ = helpers.random_batch(B, size=4)
    data = ({**inputs, "images": tf.constant(IMAGES)}, tf.constant(labels))
    return float(model.train_step(data if weight is None else (*data, tf.constant(weight)))["loss"])


def assert_same_step(loss, width, labels, weight=None, **settings):
    return Both(loss, width, **settings).assert_same_step(labels, weight)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in NAMES]
)
def test_a_step_is_that_of_plain_keras(name):
    taken = 0
    for loss in given(name):
        if name in REJECTED:
            with pytest.raises(ma.UserError, match=REJECTED[name]):
                Both(loss, CLASSES)
            continue
        # For one output, and for labels in a column, Keras broadcasts this loss's weights over the batch.
        for width in (CLASSES,) if "eneralized" in name else (1, CLASSES):
            both = Both(loss, width)
            for labels in label_forms(width):
                taken += both.assert_same_step(labels)
                if not ("eneralized" in name and labels.shape == (B, 1)):
                    taken += both.assert_same_step(labels, WEIGHT)
    assert taken or name in REJECTED or name.lower() == "ctc"


REDUCTIONS = "sum_over_batch_size", "mean", "sum", "mean_with_sample_weight"
OBJECTS = {
    "sparse": lambda **kw: keras.losses.SparseCategoricalCrossentropy(**kw),
    "ignoring a class": lambda **kw: keras.losses.SparseCategoricalCrossentropy(ignore_class=1, **kw),
    "squares": lambda **kw: keras.losses.MeanSquaredError(**kw),
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_each_reduction_is_that_of_keras(name, reduction):
    loss = OBJECTS[name](reduction=reduction)
    labels = np.arange(B) % CLASSES
    labels = np.eye(CLASSES, dtype=np.float32)[labels] if name == "squares" else labels
    if name == "ignoring a class" and reduction == "mean_with_sample_weight":
        with pytest.raises(ma.UserError, match="leave out one of the two"):
            Both(loss, CLASSES)
        return
    for settings in ({}, {"loss_weights": 0.3}, {"loss_weights": [2.0]}):
        both = Both(loss, CLASSES, **settings)
        assert all(both.assert_same_step(labels, weight) for weight in (None, WEIGHT, WEIGHT[:, None]))


def test_the_reduction_none_is_rejected():
    with pytest.raises(ma.UserError, match="sum_over_batch_size, mean, sum"):
        Both(keras.losses.MeanSquaredError(reduction=None), CLASSES)


def test_loss_weights_must_be_one_float():
    for wrong in (2, [1.0, 2.0], "a"):
        with pytest.raises(ma.UserError, match="one float"):
            ma.MetaAugment(task(CLASSES)).compile(loss="mse", loss_weights=wrong)


class Squares(keras.losses.Loss):
    """A subclass as Keras's guide has it."""

    def call(self, labels, predictions):
        return keras.ops.mean((labels - predictions) ** 2, -1)


class Whole(Squares):
    """A subclass that does what __call__ should do."""

    def __call__(self, labels, predictions, sample_weight=None):
        return 3 * super().__call__(labels, predictions, sample_weight)


def centred(labels, predictions):
    return keras.ops.mean((labels - predictions + keras.ops.mean(predictions, 0)) ** 2, -1)


def test_losses_of_ones_own():
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(B) % CLASSES]
    assert assert_same_step(Squares(), CLASSES, labels, WEIGHT)
    assert assert_same_step(lambda y, p: keras.ops.sum(keras.ops.abs(y - p), -1), CLASSES, labels, WEIGHT)
    # Ranks that differ by one, as Keras matches them before the function sees them.
    assert assert_same_step(lambda y, p: (y - p) ** 2, 1, np.arange(B) % 2, None)
    for loss, message in ((Whole(), "leave the reduction"), (centred, "of its own")):
        with pytest.raises(ma.UserError, match=message):
            Both(loss, CLASSES)
    with pytest.raises(ma.UserError, match="got shape"):
        Both(lambda y, p: keras.ops.mean((y - p) ** 2, 0), CLASSES)


def test_class_weights_are_those_of_keras():
    labels, weights = np.arange(B) % CLASSES, {0: 0.5, 1: 2.0, 2: 1.0}
    plain = task(CLASSES)
    plain.compile(keras.optimizers.SGD(RATE), loss="ce", jit_compile=False)
    wanted = plain.fit(IMAGES, labels, B, class_weight=weights, shuffle=False, verbose=0).history["loss"]
    model = ma.MetaAugment(task(CLASSES), policy_network=None)
    model.compile(keras.optimizers.SGD(RATE), loss="ce", jit_compile=False)
    inputs, _ = helpers.random_batch(B, size=4)
    data = tf.data.Dataset.from_tensors(({**inputs, "images": IMAGES}, labels))
    found = model.fit(data, class_weight=weights, verbose=0).history["loss"]
    assert found == pytest.approx(wanted, rel=1e-5)
    for mine, theirs in zip(helpers.values_of(model.task.variables), helpers.values_of(plain.variables), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_the_reported_loss_has_regularisation_and_activity_losses_as_in_keras():
    def regular():
        keras.utils.set_random_seed(4)
        images = keras.Input((4, 4, 3))
        x = keras.layers.Rescaling(1 / 255)(images)
        x = keras.layers.Conv2D(3, 2, kernel_regularizer="l2", activity_regularizer="l1")(x)
        return keras.Model(images, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(x)))

    labels = np.arange(B) % CLASSES
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain, model = regular(), ma.MetaAugment(regular(), policy_network=None)
    plain.compile(keras.optimizers.SGD(RATE), loss=loss, jit_compile=False)
    model.compile(keras.optimizers.SGD(RATE), loss=loss, jit_compile=False)
    inputs, _ = helpers.random_batch(B, size=4)
    found = model.train_step(({**inputs, "images": tf.constant(IMAGES)}, tf.constant(labels)))["loss"]
    assert float(found) == pytest.approx(float(np.ravel(plain.train_on_batch(IMAGES, labels))[0]), rel=1e-5)
    for mine, theirs in zip(helpers.values_of(model.task.variables), helpers.values_of(plain.variables), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
