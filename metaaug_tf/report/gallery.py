"""The augmented images that the policy trusts most and least."""

import io
from dataclasses import dataclass

import numpy as np
from matplotlib.image import imsave

from metaaug_tf.report.drawing import data_uri
from metaaug_tf.report.measures import WITHOUT_MAGNITUDE, groups_of
from metaaug_tf.report.run import Observations, Run
from metaaug_tf.report.wording import number, signed

_LARGEST_SIDE = 112
_IN_A_ROW = 12
_IN_A_FAMILY = 6
_MOST_FAMILIES = 4


@dataclass(frozen=True)
class Card:
    """One image of the gallery: data URI, alternative text, label, operations, weight ("" where none)."""

    source: str
    alt: str
    label: str
    operations: str
    weight: str


@dataclass(frozen=True)
class Shelf:
    """A row of images under a title."""

    title: str
    cards: tuple[Card, ...]


def shelves(run: Run) -> list[Shelf]:
    """Most and least trusted images, per family where there are two to four; else a plain sample."""
    seen = run.observations
    if seen is None or not len(seen.weights):
        return []
    if np.ptp(seen.weights) < 1e-6:
        everything = range(min(2 * _IN_A_ROW, len(seen.weights)))
        return [Shelf("A sample of pairs drawn uniformly", tuple(_card(run, seen, at, False) for at in everything))]
    groups = groups_of(run)
    if groups is not None and groups.kind == "family" and len(groups.names) <= _MOST_FAMILIES:
        found = []
        for index, name in enumerate(groups.names):
            found += _ranked(run, seen, np.flatnonzero(groups.index == index), _IN_A_FAMILY, f", {name} classes")
        return found
    return _ranked(run, seen, np.arange(len(seen.weights)), _IN_A_ROW, "")


def _ranked(run: Run, seen: Observations, members: np.ndarray, count: int, where: str) -> list[Shelf]:
    order = members[np.argsort(seen.weights[members], kind="stable")]
    count = min(count, len(order) // 2)
    chosen = (("Most trusted", order[::-1][:count]), ("Least trusted", order[:count]))
    return [
        Shelf(f"{title}{where}", tuple(_card(run, seen, int(at), True) for at in which))
        for title, which in chosen
        if count
    ]


def _card(run: Run, seen: Observations, at: int, weighted: bool) -> Card:
    label = run.class_name(int(seen.labels[at]))
    names = [run.operations[operation] for operation in seen.pairs[at]]
    # A space that does not break keeps the arrow beside what follows.
    steps = " →\N{NO-BREAK SPACE}".join(
        name if name in WITHOUT_MAGNITUDE else f"{name} {signed(magnitude)}"
        for name, magnitude in zip(names, seen.magnitudes[at], strict=True)
    )
    weight = _weight(seen, at) if weighted else ""
    alt = f"Image of class {label} after {steps}" + (f", weight {weight}" if weight else "")
    return Card(_encoded(seen.images[at]), alt, label, steps, weight)


def _weight(seen: Observations, at: int) -> str:
    value = float(seen.weights[at])
    return "< 0.001" if value < 0.0005 else number(value, 2 if value >= 0.1 else 3)


def _encoded(image: np.ndarray) -> str:
    """An image [H, W, C] as PNG; of large ones every second, third ... pixel so that the page stays light."""
    step = -(-max(image.shape[:2]) // _LARGEST_SIDE)
    small = image[::step, ::step]
    if small.shape[2] == 1:
        small = np.repeat(small, 3, axis=2)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(small), format="png")
    return data_uri(buffer.getvalue(), "png")
