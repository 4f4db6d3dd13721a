"""Glyphs: reproducible, and each family is told apart by what it is meant to be, and by nothing else."""

import numpy as np
import pytest
from PIL import Image

import metaaug_tf as ma
from metaaug_tf.data.sources import glyphs
from metaaug_tf.data.sources.glyph_shapes import REC601, curve_points, draw_blobs, draw_strokes, hue_colours

FAMILIES = np.array(glyphs.glyph_families())


@pytest.fixture(scope="module")
def drawn():
    """Training and test pool."""
    return glyphs.draw_glyphs(0, "train", 60), glyphs.draw_glyphs(0, "test", 30)


def of_family(examples, family):
    """Images float [N, 32, 32, 3] in 0..1 and labels counted from 0 within the family."""
    chosen = FAMILIES[examples.labels] == family
    labels = examples.labels[chosen]
    return examples.images[chosen] / 255.0, labels - labels.min()


def grey(images):
    return (images @ REC601)[..., None]


def features(images):
    """Pixels averaged over 4 x 4, and how values are distributed: moderately rich, rich enough for here."""
    count, channels = len(images), images.shape[-1]
    coarse = images.reshape(count, 8, 4, 8, 4, channels).mean((2, 4)).reshape(count, -1)
    spread = np.quantile(images, np.linspace(0, 1, 17), axis=(1, 2)).transpose(1, 0, 2).reshape(count, -1)
    mixed = np.concatenate([coarse, spread, images.mean((1, 2))], axis=1)
    return np.concatenate([mixed, np.ones((count, 1))], axis=1)


def linear_accuracy(train, test, describe=features):
    """Test accuracy of a ridge classifier on `describe(images)`; train and test are (images, labels)."""
    x, y = describe(train[0]), np.eye(train[1].max() + 1)[train[1]]
    weights = np.linalg.solve(x.T @ x + 0.3 * np.eye(x.shape[1]), x.T @ y)
    return ((describe(test[0]) @ weights).argmax(1) == test[1]).mean()


def foreground(image):
    """Pixels unlike the paper, bool [32, 32]: paper is what the border shows, noise is averaged away."""
    smooth = sum(np.roll(image, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    border = np.concatenate([smooth[1:3, 1:-1].reshape(-1, 3), smooth[-3:-1, 1:-1].reshape(-1, 3)])
    contrast = np.linalg.norm(smooth - np.median(border, axis=0), axis=-1)
    return contrast > max(0.12, 0.45 * np.quantile(contrast, 0.97))


def spread(image):
    """Of the foreground: number of pixels, and covariance [2, 2] of their places (x, y upwards)."""
    y, x = np.nonzero(foreground(image)[2:-2, 2:-2])
    return len(x), np.cov(np.stack([x, -y]))


def bar_angle(image):
    """Direction of a bar in degrees, 0 level to below 180, anticlockwise."""
    (xx, xy), (_, yy) = spread(image)[1]
    return np.rad2deg(np.arctan2(2 * xy, xx - yy)) / 2 % 180


def angle_class(angle):
    return round(angle / (180 / glyphs.ANGLE_CLASSES)) % glyphs.ANGLE_CLASSES


def test_names_families_and_sizes():
    names = glyphs.glyph_class_names()
    assert len(set(names)) == len(names) == glyphs.SHAPE_CLASSES + glyphs.HUE_CLASSES + glyphs.ANGLE_CLASSES
    assert {"shape-03", "hue-2", "angle-5"} <= set(names)
    drawn = glyphs.draw_glyphs(0, "train", 2)
    assert drawn.images.shape == (2 * len(names), 32, 32, 3) and drawn.images.dtype == np.uint8
    assert drawn.labels.tolist() == np.repeat(np.arange(len(names)), 2).tolist()


def test_a_drawing_depends_on_seed_pool_class_and_index_alone():
    first, again, more = (glyphs.draw_glyphs(1, "train", count) for count in (3, 3, 5))
    assert first.images.tobytes() == again.images.tobytes()
    few, many = (part.images.reshape(len(FAMILIES), -1, 32, 32, 3) for part in (first, more))
    assert np.array_equal(few, many[:, :3])
    others = (glyphs.draw_glyphs(2, "train", 3), glyphs.draw_glyphs(1, "test", 3))
    everything = np.concatenate([more.images, *(part.images for part in others)])
    assert len({image.tobytes() for image in everything}) == len(everything)


def test_hue_is_seen_in_colour_but_not_in_grey(drawn):
    train, test = (of_family(pool, "hue") for pool in drawn)
    chance = 1 / glyphs.HUE_CLASSES
    assert linear_accuracy(train, test) > 3 * chance
    assert linear_accuracy((grey(train[0]), train[1]), (grey(test[0]), test[1])) < chance + 0.1


def applied(operation, magnitude, images):
    pairs = np.tile([ma.OPERATIONS.index(operation), ma.OPERATIONS.index("Identity")], (len(images), 1))
    magnitudes = np.full(pairs.shape, magnitude, np.float32)
    return ma.apply_pairs(np.uint8(np.rint(images * 255)), pairs, magnitudes).numpy() / 255


@pytest.mark.parametrize("operation, share", [("Equalize", 0.5), ("AutoContrast", 2 / 3)])
def test_stretching_each_channel_ruins_the_colour(drawn, operation, share):
    """Even a classifier that learns from the stretched images finds only this share of what it finds in clean ones."""
    train, test = (of_family(pool, "hue") for pool in drawn)
    stretched = [(applied(operation, 0.0, images), labels) for images, labels in (train, test)]
    assert linear_accuracy(*stretched) < share * linear_accuracy(train, test)


@pytest.mark.parametrize("magnitude", [-8.0, 8.0])
def test_more_or_less_colour_is_another_class(drawn, magnitude):
    train, test = (of_family(pool, "hue") for pool in drawn)
    assert linear_accuracy(train, (applied("Color", magnitude, test[0]), test[1])) < 0.9 * linear_accuracy(train, test)


def test_colour_says_nothing_about_shape_and_angle(drawn):
    def colours(images):
        return features(images.mean((1, 2), keepdims=True) * np.ones((1, 32, 32, 1)))

    for family in ("shape", "angle"):
        train, test = (of_family(pool, family) for pool in drawn)
        assert linear_accuracy(train, test, colours) < 1 / (train[1].max() + 1) + 0.1
    train, test = (of_family(pool, "hue") for pool in drawn)
    assert linear_accuracy(train, test, colours) > 3 / glyphs.HUE_CLASSES  # the same little classifier can tell hues


def test_a_turn_by_the_spacing_makes_one_angle_class_the_next(drawn):
    images, labels = of_family(drawn[1], "angle")
    seen = np.array([angle_class(bar_angle(image)) for image in images])
    assert (seen == labels).mean() > 0.95
    turned = [
        Image.fromarray(np.uint8(image * 255)).rotate(
            180 / glyphs.ANGLE_CLASSES,
            Image.Resampling.BILINEAR,
            fillcolor=tuple(np.uint8(image[1, 1] * 255)),
        )
        for image in images
    ]
    seen = np.array([angle_class(bar_angle(np.asarray(image) / 255)) for image in turned])
    assert (seen == (labels + 1) % glyphs.ANGLE_CLASSES).mean() > 0.9


def test_a_turn_of_shapes_is_no_other_shape(drawn):
    """Nearest mean picture of a class: far above chance for shapes as drawn and turned a little."""

    def pictures(images):
        coarse = np.stack([foreground(image) for image in images]).reshape(-1, 16, 2, 16, 2).mean((2, 4))
        return coarse / np.linalg.norm(coarse, axis=(1, 2), keepdims=True)

    (images, labels), (test_images, test_labels) = (of_family(pool, "shape") for pool in drawn)
    means = np.stack([pictures(images[labels == k]).mean(0) for k in range(glyphs.SHAPE_CLASSES)])
    turned = np.stack(
        [
            np.asarray(Image.fromarray(np.uint8(i * 255)).rotate(10, fillcolor=tuple(np.uint8(i[1, 1] * 255))))
            for i in test_images
        ]
    )
    for tested in (test_images, turned / 255):
        nearest = np.einsum("nyx,cyx->nc", pictures(tested), means).argmax(1)
        assert (nearest == test_labels).mean() > 3 / glyphs.SHAPE_CLASSES


def test_the_family_shows_in_the_image(drawn):
    """Only what is told apart by colour has coloured paper; of the others, bars are long and fill their outline."""

    def family(image):
        paper = np.median(image, axis=(0, 1))
        if paper.max() - paper.min() > 0.09:
            return "hue"
        count, covariance = spread(image)
        small, large = np.sqrt(np.linalg.eigvalsh(covariance))
        fill = count / (4 * np.pi * small * large)  # 1 for a full ellipse, 0.95 for a full bar
        return "angle" if fill > 0.72 and large > 1.8 * small else "shape"

    seen = np.array([family(image / 255) for image in drawn[1].images])
    for name in ("shape", "hue", "angle"):
        assert (seen[FAMILIES[drawn[1].labels] == name] == name).mean() > 0.85, name


@pytest.mark.parametrize("saturation", [0.0, 0.5, 1.0])
def test_colours_of_all_hues_are_equally_bright(saturation):
    hues = np.linspace(-1, 2, 91)
    for luminance in (0.1, 0.45, 0.9):
        colours = hue_colours(hues, np.full(91, luminance), np.full(91, saturation))
        assert np.allclose(colours @ REC601, luminance, atol=1e-5)
        assert colours.min() > -1e-6 and colours.max() < 1 + 1e-6
        assert np.allclose(colours[:30], colours[30:60], atol=1e-5)  # a whole turn is no turn
    red, green, blue = hue_colours(np.arange(3) / 3, np.full(3, 0.3), np.ones(3))
    assert (red.argmax(), green.argmax(), blue.argmax()) == (0, 1, 2)


def test_strokes_and_blobs_cover_the_right_area():
    line = np.array([[[[6.0, 16.0], [26.0, 16.0]]]], np.float32)
    cover = draw_strokes(line, np.array([4.0], np.float32), 33)[0]
    assert cover[16, 16] == 1 and cover[10, 16] == 0
    assert cover.sum() == pytest.approx(20 * 4 + np.pi * 2**2, rel=0.02)
    flat = np.zeros((1, 3), np.float32)
    blob = draw_blobs(np.array([[16.0, 16.0]], np.float32), np.array([8.0], np.float32), flat, flat, 33)[0]
    assert blob.sum() == pytest.approx(np.pi * 8**2, rel=0.02)
    ends = curve_points(np.array([[0, 0], [1, 5], [2, -5], [3, 0]]))[[0, -1]]
    assert ends.tolist() == [[0, 0], [3, 0]]
