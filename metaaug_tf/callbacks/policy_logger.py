"""Keras callback that shows the policy in TensorBoard and as CSV: scalars, the sampler's table, weighted samples."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metaaug_tf.augmentation.augment import augment
from metaaug_tf.data.examples import Examples
from metaaug_tf.files import dispensable, write_text
from metaaug_tf.meta.health import HEALTH_METRICS
from metaaug_tf.ops import OPERATIONS
from metaaug_tf.policy.network import weigh
from metaaug_tf.policy.table import relative, relative_frequencies
from metaaug_tf.report.drawing import INK, PAPER, ratio_limit
from metaaug_tf.report.maps import table_figure
from metaaug_tf.run_folder import file_errors_as_os_errors
from metaaug_tf.settings import Augmentation

CSV_FILE = "policy.csv"
_COLUMNS = ("epoch", *OPERATIONS, *HEALTH_METRICS)
_TABLE_INCHES = 7.0


class PolicyLogger(keras.callbacks.Callback):
    """Writes after each epoch what the policy has learned so far.

    TensorBoard, under log_dir: scalars policy/drawn/OPERATION (how often it is drawn relative to the start, in
    first and second place together), policy/NAME of the policy network's metrics, the image policy/table and, where
    there are examples, the image policy/samples: augmented images with their weights, the most trusted first.
    log_dir/policy.csv holds the same scalars, a row per epoch.

    Example:
        import keras, numpy as np
        import metaaug_tf as ma

        random = np.random.default_rng(0)
        images, labels = random.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8), np.arange(32, dtype=np.int32) % 2
        task = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        model = ma.MetaAugment(task)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss=loss, jit_compile=False)
        examples = ma.Examples(images, labels)
        dataset = ma.training_dataset(examples, examples, model.sampler, batch_size=16)
        model.fit(dataset, epochs=1, verbose=0, callbacks=[ma.PolicyLogger("logs", examples)])
    """

    def __init__(
        self,
        log_dir: str | Path,
        examples: Examples | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        samples: int = 24,
    ):
        """Writes nothing yet.

        Args:
            log_dir: TensorBoard's folder; made where it is not there.
            examples: whose images are shown; None shows none.
            augmentation: the training dataset's; by default Augmentation().
            seed: the training dataset's, so that the images are among those that training draws.
            samples: number of images shown.
        """
        super().__init__()
        self._log_dir, self._augmentation, self._seed = Path(log_dir), augmentation or Augmentation(), seed
        self._indices = np.arange(min(samples, 0 if examples is None else len(examples)), dtype=np.int64)
        self._images = None if examples is None else examples.images[: len(self._indices)]

    def on_train_begin(self, logs=None):
        """Opens the event file."""
        self._writer = tf.summary.create_file_writer(str(self._log_dir))

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch's scalars and images."""
        table, initial = self.model.sampler.probabilities.numpy(), self.model.sampler.initial
        scalars = {name: float((logs or {})[name]) for name in HEALTH_METRICS if name in (logs or {})}
        drawn = dict(zip(OPERATIONS, relative_frequencies(table, initial), strict=True))
        with (
            dispensable(self._log_dir, f"epoch {epoch + 1} is missing there"),
            file_errors_as_os_errors(),
            self._writer.as_default(step=epoch),
        ):
            for name, value in drawn.items():
                tf.summary.scalar(f"policy/drawn/{name}", value)
            for name, value in scalars.items():
                tf.summary.scalar(f"policy/{name}", value)
            tf.summary.image("policy/table", table_pixels(relative(table, initial))[None])
            if self._images is not None and self.model.policy_network is not None:
                tf.summary.image("policy/samples", sample_pixels(*self.weighted_samples())[None])
            self._writer.flush()
        with dispensable(self._log_dir / CSV_FILE, f"the row of epoch {epoch + 1} is lost"):
            _write_row(self._log_dir / CSV_FILE, {"epoch": epoch, **drawn, **scalars})

    def on_train_end(self, logs=None):
        """Closes the event file."""
        with dispensable(self._log_dir, "its last events are lost"), file_errors_as_os_errors():
            self._writer.close()

    def weighted_samples(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """The first examples as the next epoch draws them, most trusted first.

        Returns:
            images uint8 [N, H, W, C], raw weights float32 [N], names of the pairs of operations.
        """
        sampler = self.model.sampler
        images, pairs, magnitudes = augment(
            tf.constant(self._images),
            tf.constant(self._indices),
            self._seed,
            sampler.epoch.value,
            sampler.probabilities.value,
            self._augmentation,
        )
        weights = weigh(self.model.policy_network, self.model.features, images, pairs, magnitudes).numpy()
        order = np.argsort(-weights, kind="stable")
        names = [" then ".join(OPERATIONS[operation] for operation in pair) for pair in pairs.numpy()[order]]
        return images.numpy()[order], weights[order], names


def _write_row(path: Path, row: dict[str, Any]) -> None:
    """Writes the epoch's row, and the rows of earlier epochs that the file holds."""
    kept = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            kept = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, row])
    write_text(path, text.getvalue())


_SAMPLES_IN_A_ROW, _PANEL_INCHES = 6, 1.5


def table_pixels(ratios: np.ndarray) -> np.ndarray:
    """How often each pair is drawn relative to the start, [14, 14], as uint8 [H, W, 3]."""
    return _pixels(table_figure(OPERATIONS, ratios, ratio_limit(ratios), _TABLE_INCHES))


def sample_pixels(images: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Images with their weights and operations in a grid, as uint8 [H, W, 3].

    Args:
        images: uint8 [N, H, W, C], in the order to show.
        weights: float [N].
        names: [N], the operations applied to each.
    """
    rows = math.ceil(len(images) / _SAMPLES_IN_A_ROW)
    figure = Figure(
        figsize=(_SAMPLES_IN_A_ROW * _PANEL_INCHES, rows * _PANEL_INCHES * 1.3), facecolor=PAPER, layout="constrained"
    )
    panels = np.atleast_1d(figure.subplots(rows, _SAMPLES_IN_A_ROW, squeeze=False)).flat
    for panel in panels:
        panel.axis("off")
    for panel, image, weight, name in zip(figure.axes, images, weights, names, strict=False):
        panel.imshow(image.repeat(3, axis=-1) if image.shape[-1] == 1 else image, interpolation="nearest")
        panel.set_title(f"{weight:.3f}\n{name.replace(' then ', chr(10))}", fontsize=7, color=INK)
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
