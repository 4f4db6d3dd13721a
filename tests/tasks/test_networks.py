"""The papers' networks against published figures; shared models, since the large ones take seconds to build."""

import functools

import helpers
import keras
import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.settings import NetworkSettings
from metaaug_tf.tasks.pyramidnet import pyramidnet
from metaaug_tf.tasks.registry import NETWORKS, build_task
from metaaug_tf.tasks.resnet import resnet
from metaaug_tf.tasks.shake_shake import shake_shake

CIFAR, IMAGENET = (10, (32, 32, 3)), (1000, (224, 224, 3))
# Millions of trainable parameters. wrn: Wide Residual Networks, tables 4 and 5; shake_shake: Gastaldi, table 3 (2x96d);
# pyramidnet: Han et al., table 4; resnet_50, resnet_200: torchvision's counts (25,557,032 for resnet50).
PUBLISHED = {
    "wrn_40_2": (CIFAR, 2.2),
    "wrn_28_10": (CIFAR, 36.5),
    "shake_shake_26_2x32d": (CIFAR, 2.9),
    "shake_shake_26_2x96d": (CIFAR, 26.2),
    "pyramidnet_272_a200": (CIFAR, 26.0),
    "resnet_50": (IMAGENET, 25.6),
    "resnet_200": (IMAGENET, 64.7),
}
# Layers whose outputs are the ends of the stages, with height, width and channels; then the width of the features.
STAGES = {
    "wrn_40_2": (["stage1_block6_add", "stage2_block6_add", "stage3_block6_add"], [32, 16, 8], [32, 64, 128], 128),
    "shake_shake_26_2x96d": (
        ["stage1_block4_add", "stage2_block4_add", "stage3_block4_add"],
        [32, 16, 8],
        [96, 192, 384],
        384,
    ),
    # 16 + 200 k / 90 at k = 30, 60 and 90, rounded down, four times.
    "pyramidnet_272_a200": (
        ["stage1_block30_add", "stage2_block30_add", "stage3_block30_add"],
        [32, 16, 8],
        [4 * 82, 4 * 149, 4 * 216],
        864,
    ),
    "resnet_50": (
        ["stage1_block3_relu", "stage2_block4_relu", "stage3_block6_relu", "stage4_block3_relu"],
        [56, 28, 14, 7],
        [256, 512, 1024, 2048],
        2048,
    ),
    "resnet_200": (
        ["stage1_block3_add", "stage2_block24_add", "stage3_block36_add", "stage4_block3_add"],
        [56, 28, 14, 7],
        [256, 512, 1024, 2048],
        2048,
    ),
}


def _marked(name):
    """The name as a parameter; networks of hundreds of layers take long to build."""
    return pytest.param(name, marks=pytest.mark.long) if name in ("pyramidnet_272_a200", "resnet_200") else name


@functools.cache
def built(name):
    classes, shape = PUBLISHED[name][0]
    return build_task(NetworkSettings(model=name), classes, shape)


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts_are_the_published_ones(name):
    count = sum(int(np.prod(variable.shape)) for variable in built(name).trainable_variables)
    assert round(count / 1e6, 1) == PUBLISHED[name][1]


def test_resnet_50_has_as_many_parameters_as_torchvision():
    ours = sum(int(np.prod(variable.shape)) for variable in built("resnet_50").trainable_variables)
    assert ours == 25_557_032  # torchvision.models.resnet50


@pytest.mark.parametrize("name", [_marked(name) for name in STAGES])
def test_stage_sizes(name):
    layers, sizes, channels, features = STAGES[name]
    found = [built(name).get_layer(layer).output.shape[1:] for layer in layers]
    assert found == [(size, size, count) for size, count in zip(sizes, channels, strict=True)]
    assert built(name).get_layer("logits").input.shape == (None, features)
    assert built(name).outputs[0].dtype == "float32"


@pytest.mark.parametrize(
    "name", [_marked(name) for name in ("wrn_40_2", "shake_shake_26_2x32d", "pyramidnet_272_a200", "resnet_50")]
)
def test_convolutions_are_initialised_after_he_et_al(name):
    """Standard deviation sqrt(2 / fan-out), checked on each kernel within what its size allows."""
    kernels = [layer.kernel for layer in built(name).layers if isinstance(layer, keras.layers.Conv2D)]
    for kernel in kernels:
        values = kernel.numpy()
        height, width, _, out = values.shape
        wanted = np.sqrt(2 / (height * width * out))
        assert values.std() == pytest.approx(wanted, rel=5 / np.sqrt(2 * values.size))
    assert all(layer.bias is None for layer in built(name).layers if isinstance(layer, keras.layers.Conv2D))


def test_resnet_50_starts_as_the_identity_in_every_block():
    last = [layer for layer in built("resnet_50").layers if layer.name.endswith("_c_bn")]
    assert len(last) == 16 and all((layer.gamma.numpy() == 0).all() for layer in last)
    assert built("resnet_50").get_layer("logits").kernel.numpy().std() == pytest.approx(0.01, rel=0.01)


def test_survival_falls_in_a_line_to_one_half():
    survival = [layer.survival for layer in built("pyramidnet_272_a200").layers if hasattr(layer, "survival")]
    np.testing.assert_allclose(survival, np.linspace(1 - 0.5 / 90, 0.5, 90))


def test_pyramid_shortcut_is_the_average_with_zero_channels():
    """With the branch's last BatchNorm scaled to zero, a block's output is its shortcut."""
    task = pyramidnet(11, 8, 3, (8, 8, 3))
    for layer in task.layers:
        if layer.name.endswith("_d_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    ends = [task.get_layer(f"stage{stage}_block1_add").output for stage in (1, 2)]
    before, after = keras.Model(task.inputs, ends)(helpers.random_batch()[0]["images"])
    pooled = before.numpy().reshape(6, 4, 2, 4, 2, -1).mean(axis=(2, 4))
    np.testing.assert_allclose(after[..., : pooled.shape[-1]], pooled, atol=1e-6)
    assert (after[..., pooled.shape[-1] :].numpy() == 0).all() and after.shape[-1] > pooled.shape[-1]


def test_shake_shake_shortcut_sees_even_and_odd_pixels():
    task = shake_shake(4, 3, (8, 8, 3), blocks_per_stage=1)
    activation = task.get_layer("stage2_block1_relu").output
    joined = task.get_layer("stage2_block1_shortcut_join").output
    pixels, result = keras.Model(task.inputs, [activation, joined])(helpers.random_batch()[0]["images"])
    for number, offset in ((1, 0), (2, 1)):
        kernel = task.get_layer(f"stage2_block1_shortcut_conv{number}").kernel.numpy()[0, 0]
        wanted = pixels.numpy()[:, offset::2, offset::2] @ kernel
        np.testing.assert_allclose(result[..., 4 * (number - 1) : 4 * number], wanted, atol=1e-5)


SMALL = {
    "shake_shake": lambda size: shake_shake(4, 4, (size, size, 3), blocks_per_stage=1),
    "pyramidnet": lambda size: pyramidnet(11, 8, 4, (size, size, 3)),
}


@pytest.mark.long
@pytest.mark.parametrize(("name", "size"), [("shake_shake", 8), ("shake_shake", 11), ("pyramidnet", 11)])
@pytest.mark.long
def test_small_relatives_train_on_even_and_odd_sizes(name, size):
    keras.utils.set_random_seed(0)
    model = ma.MetaAugment(SMALL[name](size), ma.PolicyNetwork(hidden_units=3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, jit_compile=False)
    data = helpers.random_batch(size=size)
    step = tf.function(model.train_step)
    losses = [float(step(data)["loss"]) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_task(NetworkSettings(model="resnet"), 10, (32, 32, 3)), "wrn_40_2.*applications/NAME"),
        (lambda: resnet(18, 10, (32, 32, 3)), "one of 50, 101, 152, 200"),
        (lambda: resnet(50, 10, (28, 28, 1)), "at least 32 x 32 pixels, not 28 x 28: set --config.image_size"),
        (lambda: shake_shake(3, 10, (32, 32, 3)), "even number"),
        (lambda: pyramidnet(12, 200, 10, (32, 32, 3)), "9n\\+2"),
        (lambda: pyramidnet(11, 8, 1, (32, 32, 3)), "at least 2 classes"),
        (lambda: ma.wide_resnet(10, 1, 10, (4, 4, 3)), "at least 8 x 8"),
    ],
)
def test_what_a_network_refuses(build, message):
    with pytest.raises(ma.UserError, match=message):
        build()


def test_every_network_of_the_registry_is_checked_or_has_settings():
    assert set(NETWORKS) - set(PUBLISHED) == {"conv_net", "wide_resnet", "shake_shake_26_2x112d"}


@pytest.mark.slow
def test_shake_shake_2x112d_has_35_6_million_parameters():
    task = build_task(NetworkSettings(model="shake_shake_26_2x112d"), *CIFAR)
    assert round(sum(int(np.prod(v.shape)) for v in task.trainable_variables) / 1e6, 1) == 35.6
