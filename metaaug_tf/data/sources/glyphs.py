"""The embedded dataset `glyphs`: small drawings of three families, made by numpy from a seed.

- `shape`: stroke characters told apart by their shape; colour says nothing, a moderate turn changes nothing.
- `hue`: filled blobs told apart by colour alone, its hue and how vivid it is; form and place say nothing,
  all colours are equally bright, and the paper has the same colour, so that nothing in the image is white or grey.
- `angle`: bars told apart by the bar's angle alone; colour, length and place say nothing.

So operations on colour ruin the label of one family, turning and shearing that of another, and neither that
of the third. Every drawing depends on (seed, set, class, index) alone.
"""

from collections.abc import Sequence

import numpy as np

from metaaug_tf.data.examples import Examples
from metaaug_tf.data.sources.glyph_shapes import curve_points, draw_blobs, draw_strokes, hue_colours

SIZE = 32  # pixels, height and width
FAMILIES = ("shape", "hue", "angle")
POOLS = ("train", "test")  # drawn independently; validation is held out of the first

# Classes, and how many drawings of each where the settings name no number.
SHAPE_CLASSES = 8
HUE_CLASSES = 18  # hues times what HUE_SATURATIONS holds
ANGLE_CLASSES = 12
TRAIN_PER_CLASS = 92  # of which
VALIDATION_PER_CLASS = 15
TEST_PER_CLASS = 34
MOST_PER_CLASS = 2000  # 76,000 images, drawn in about half a minute

# Difficulty. Jitters are largest deviations (drawn evenly), deviations are standard deviations.
NOISE_DEVIATION = 0.08  # per pixel, the same in all channels; 1 is the distance from black to white
COLOUR_NOISE_DEVIATION = 0.01  # per channel; small, or the noise would tell how far a colour was stretched
SHIFT_JITTER = 4.0  # pixels, each way
SHAPE_POINT_DEVIATION = 0.2  # of a stroke's control points; 1 is half a character's height
SHAPE_ANGLE_JITTER = 25.0  # degrees
HUE_DEVIATION = 0.05  # in turns; there are HUE_CLASSES / 3 hues
HUE_SATURATIONS = ((0.12, 0.17), (0.25, 0.35), (0.5, 0.65))  # each hue is there in all three
ANGLE_DEVIATION = 3.2  # degrees; classes are 180 / ANGLE_CLASSES apart

# Looks. Sizes in pixels, colours as Rec.601 luminance and as saturation, 0..1; each drawn between the two.
CHARACTER_HALF_SIZE = (8.0, 11.5)
STROKE_WIDTH = (1.5, 2.8)
BLOB_RADIUS = (5.0, 9.0)
BLOB_WAVE_DEVIATION = 0.09  # how far from a disc; 1 is the radius
BAR_HALF_LENGTH = (4.5, 8.0)
BAR_WIDTH = (3.0, 6.0)
PAPER_LUMINANCE = (
    0.42,
    0.6,
)  # about the usual fill of 128: what a turn or an inversion did leaves few traces
INK_LUMINANCE = ((0.05, 0.2), (0.8, 0.95))  # dark ink, light ink
BLOB_LUMINANCE = (0.42, 0.6)
PAPER_SATURATION = (0.0, 0.12)
INK_SATURATION = (0.3, 0.9)
STROKES = (2, 3, 4)  # how many strokes a character may have
LEAST_SPREAD = 0.12  # variance of a character's points across its narrowest direction
CANDIDATES = 12  # a new character is the one of this number that is least like those before it


class _Draws:
    """Random numbers of many images: every call hands out the next columns of one table."""

    def __init__(self, seed: int, pool: int, label: int, count: int, columns: int = 64):
        generators = [np.random.Generator(np.random.PCG64([seed, pool, label, i])) for i in range(count)]
        self._even = np.stack([g.random(columns, np.float32) for g in generators])
        self._normal = np.stack([g.standard_normal(columns, np.float32) for g in generators])
        self.noise = np.stack([g.standard_normal((SIZE, SIZE, 3), np.float32) for g in generators])
        self._next_even = self._next_normal = 0

    def even(self, low: float | np.ndarray, high: float | np.ndarray) -> np.ndarray:
        """One number per image [N], evenly drawn between `low` and `high`."""
        self._next_even += 1
        return low + (high - low) * self._even[:, self._next_even - 1]

    def normal(self, deviation: float, *shape: int) -> np.ndarray:
        """Normally distributed numbers [N, *shape] around 0."""
        start, self._next_normal = self._next_normal, self._next_normal + int(np.prod(shape))
        return deviation * self._normal[:, start : self._next_normal].reshape(-1, *shape)


def glyph_class_names(families: Sequence[str] = FAMILIES) -> tuple[str, ...]:
    """Names of all classes in the order of their numbers, such as "shape-03", "hue-2", "angle-5"."""
    names = [
        *(f"shape-{k:02d}" for k in range(SHAPE_CLASSES)),
        *(f"hue-{k}" for k in range(HUE_CLASSES)),
        *(f"angle-{k}" for k in range(ANGLE_CLASSES)),
    ]
    return tuple(name for name in names if _family(name) in families)


def glyph_families(families: Sequence[str] = FAMILIES) -> tuple[str, ...]:
    """The family of every class: "shape", "hue" or "angle", in the order of the class numbers."""
    return tuple(map(_family, glyph_class_names(families)))


def _family(class_name: str) -> str:
    return class_name.split("-")[0]


def draw_glyphs(seed: int, pool: str, per_class: int, families: Sequence[str] = FAMILIES) -> Examples:
    """Draw `per_class` images of every class.

    Args:
        seed: any whole number from 0; another seed gives other drawings and other characters.
        pool: "train" or "test"; the two hold different drawings of the same classes.
        per_class: images per class; the first ones are the same however many are asked for.
        families: those of FAMILIES that are drawn; a class's drawings are the same with and without the others.

    Returns:
        Examples with uint8 [classes * per_class, 32, 32, 3] images, sorted by class.
    """
    characters = make_characters(seed)
    images = []
    for label, name in enumerate(glyph_class_names()):
        family, number = name.split("-")
        if family not in families:
            continue
        draws = _Draws(seed, POOLS.index(pool), label, per_class)
        if family == "shape":
            images.append(_draw_characters(draws, characters[int(number)]))
        elif family == "hue":
            hue, vividness = divmod(int(number), len(HUE_SATURATIONS))
            images.append(_draw_hue_blobs(draws, hue * len(HUE_SATURATIONS) / HUE_CLASSES, HUE_SATURATIONS[vividness]))
        else:
            images.append(_draw_bars(draws, int(number) * 180 / ANGLE_CLASSES))
    return Examples(np.concatenate(images), np.repeat(np.arange(len(images), dtype=np.int32), per_class))


def make_characters(seed: int) -> list[np.ndarray]:
    """The control points of the stroke characters, one array per `shape` class.

    Returns:
        SHAPE_CLASSES arrays float [strokes, 4, 2]: cubic curves (x, y) within -1..1, each connected to one
        before it. A new character is the least similar of some candidates to those already made.
    """
    random = np.random.Generator(np.random.PCG64([seed, len(POOLS)]))
    characters: list[np.ndarray] = []
    looks: list[np.ndarray] = []
    for _ in range(SHAPE_CLASSES):
        candidates = [_random_character(random) for _ in range(CANDIDATES)]
        pictures = [_picture(candidate) for candidate in candidates]
        gaps = [min((np.abs(p - q).mean() for q in looks), default=0) for p in pictures]
        best = int(np.argmax(gaps))
        characters.append(candidates[best])
        looks.append(pictures[best])
    return characters


def _random_character(random: np.random.Generator) -> np.ndarray:
    """Connected curved strokes, float [strokes, 4, 2], within -1..1; never as narrow as a bar."""
    while True:
        strokes = _random_strokes(random)
        points = curve_points(strokes).reshape(-1, 2)
        if np.linalg.eigvalsh(np.cov(points.T))[0] > LEAST_SPREAD:
            return strokes


def _random_strokes(random: np.random.Generator) -> np.ndarray:
    """Connected curved strokes, float [strokes, 4, 2], stretched to -1..1 in the longer direction."""
    strokes: list[np.ndarray] = []
    for _ in range(random.choice(STROKES)):
        start = random.uniform(-1, 1, 2)
        if strokes:
            earlier = curve_points(strokes[random.integers(len(strokes))])
            start = earlier[random.choice([0, len(earlier) // 2, -1])]
        end = random.uniform(-1, 1, 2)
        while np.hypot(*(end - start)) < 0.8:
            end = random.uniform(-1, 1, 2)
        bend = random.normal(0, 0.5, (2, 2))
        strokes.append(np.stack([start, start * 2 / 3 + end / 3, start / 3 + end * 2 / 3, end]))
        strokes[-1][1:3] += bend
    points = curve_points(np.stack(strokes))
    low, high = points.min((0, 1)), points.max((0, 1))
    half = (high - low) / 2
    return (np.stack(strokes) - (low + high) / 2) / np.sqrt(half * max(half))  # narrow ones made wider


def _picture(character: np.ndarray) -> np.ndarray:
    """A small bold picture [12, 12] of a character, to compare it with others."""
    return draw_strokes(curve_points(character)[None] * 4 + 5.5, np.full(1, 2.5, np.float32), 12)[0]


def _draw_characters(draws: _Draws, character: np.ndarray) -> np.ndarray:
    """Images uint8 [N, 32, 32, 3] of one character, written again each time."""
    controls = character + draws.normal(SHAPE_POINT_DEVIATION, *character.shape)
    turn = np.deg2rad(draws.even(-SHAPE_ANGLE_JITTER, SHAPE_ANGLE_JITTER))
    cos, sin = np.cos(turn), np.sin(turn)
    wide, high = draws.even(*CHARACTER_HALF_SIZE), draws.even(*CHARACTER_HALF_SIZE)
    matrix = np.stack([np.stack([cos * wide, -sin * high], -1), np.stack([sin * wide, cos * high], -1)], -2)
    controls = np.einsum("nij,nspj->nspi", matrix, controls) + _centres(draws)[:, None, None]
    cover = draw_strokes(curve_points(controls), draws.even(*STROKE_WIDTH), SIZE)
    return _paint(draws, cover, *_paper_and_ink(draws))


def _draw_hue_blobs(draws: _Draws, hue: float, saturation: tuple[float, float]) -> np.ndarray:
    """Images uint8 [N, 32, 32, 3] of blobs around one hue (in turns), all of one brightness."""
    waves = np.abs(draws.normal(BLOB_WAVE_DEVIATION, 3))
    phases = np.stack([draws.even(0, 2 * np.pi) for _ in range(3)], -1)
    cover = draw_blobs(_centres(draws), draws.even(*BLOB_RADIUS), waves, phases, SIZE)
    hues = hue + draws.normal(HUE_DEVIATION, 1)[:, 0]
    paper = hue_colours(hues, draws.even(*PAPER_LUMINANCE), draws.even(*saturation))
    return _paint(draws, cover, paper, hue_colours(hues, draws.even(*BLOB_LUMINANCE), draws.even(*saturation)))


def _draw_bars(draws: _Draws, angle: float) -> np.ndarray:
    """Images uint8 [N, 32, 32, 3] of bars at one angle (degrees, anticlockwise from level) or close to it."""
    angles = np.deg2rad(angle + draws.normal(ANGLE_DEVIATION, 1)[:, 0])
    half = (draws.even(*BAR_HALF_LENGTH) * np.stack([np.cos(angles), -np.sin(angles)])).T
    centres = _centres(draws)
    points = np.stack([centres - half, centres + half], axis=1)[:, None].astype(np.float32)
    return _paint(draws, draw_strokes(points, draws.even(*BAR_WIDTH), SIZE), *_paper_and_ink(draws))


def _centres(draws: _Draws) -> np.ndarray:
    """Where the drawings are: float32 [N, 2], the middle of the image and some pixels around it."""
    shifts = [draws.even(-SHIFT_JITTER, SHIFT_JITTER) for _ in range(2)]
    return np.stack(shifts, -1) + (SIZE - 1) / 2


def _paper_and_ink(draws: _Draws) -> tuple[np.ndarray, np.ndarray]:
    """Colours [N, 3] of paper (greyish) and of ink, dark or light, of any hue that stands out."""
    ink = np.array(INK_LUMINANCE)[(draws.even(0, 1) > 0.5).astype(int)]
    return (
        hue_colours(draws.even(0, 1), draws.even(*PAPER_LUMINANCE), draws.even(*PAPER_SATURATION)),
        hue_colours(draws.even(0, 1), draws.even(*ink.T), draws.even(*INK_SATURATION)),
    )


def _paint(draws: _Draws, cover: np.ndarray, paper: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Noisy images uint8 [N, 32, 32, 3]: `ink` on `paper`, both [N, 3], where `cover` [N, 32, 32] says."""
    paper, ink = paper[:, None, None], ink[:, None, None]
    noise = NOISE_DEVIATION * draws.noise[..., :1] + COLOUR_NOISE_DEVIATION * draws.noise
    images = paper + cover[..., None] * (ink - paper) + noise
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
