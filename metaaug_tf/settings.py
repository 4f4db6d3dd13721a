"""Every setting of a run, once: its name, default, range and meaning, in the record that functions take.

To add a setting, add a field here and read it where it acts. The defaults of configs/, the checks, --help and
docs/command-line.md are made from these fields.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

_MOST = 2**31 - 1  # far above what anybody trains with; beyond it a mistake would end in a lack of memory


@dataclass(frozen=True)
class Rule:
    """What a setting may be: `allows(value)`, and the same in words, which stand after "must be"."""

    allows: Callable[[Any], bool]
    words: Callable[[], str]


def _between(low: float, high: float) -> Rule:
    return Rule(lambda value: low <= value <= high, lambda: f"from {low} to {high}")


def _one_of(*values: Any) -> Rule:
    return Rule(lambda value: value in values, lambda: "one of " + ", ".join(map(str, values)))


def _rows(module: str, table: str) -> Mapping[str, Any]:
    return getattr(importlib.import_module(f"metaaug_tf.{module}"), table)


def _row_of(module: str, table: str, *, or_prefix: str = "", else_words: str = "") -> Rule:
    """A key of a table in another module, which is read when the rule is; or a name with that prefix."""
    rows = functools.partial(_rows, module, table)

    def allows(value: str) -> bool:
        return value in rows() or (bool(or_prefix) and value.startswith(or_prefix))

    return Rule(allows, lambda: f"one of {', '.join(rows())}{else_words}")


def _some_of(module: str, table: str) -> Rule:
    """Keys of a table in another module, each at most once, with commas; "" for none."""
    rows = functools.partial(_rows, module, table)

    def allows(value: str) -> bool:
        names = [name for name in value.split(",") if value]
        return set(names) <= set(rows()) and len(set(names)) == len(names)

    return Rule(allows, lambda: f"some of {','.join(rows())}, each once, with commas")


def setting(
    default: Any, meaning: str, rule: Rule | None = None, *, may_change: bool = False, before: Any = None
) -> Any:
    """A field of a record below.

    Args:
        default: of `--config.NAME`, also what it is of: a value must be of this type.
        meaning: for --help and the documentation.
        rule: what a value may be besides its type.
        may_change: whether a run may resume with another value, because it changes nothing of the result.
        before: of a setting that older runs do not have: the value with which a run behaves as they did.
    """
    row = {"meaning": meaning, "rule": rule, "may_change": may_change, "before": before}
    return field(default=default, metadata=row)


@dataclass(frozen=True)
class Settings:
    """What all records share: they are cut from the flat config by the names of their fields."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The record with the values that `config` has, and defaults for the others; other keys do not matter."""
        return cls(**{row.name: config[row.name] for row in fields(cls) if row.name in config})


@dataclass(frozen=True)
class SeedSettings(Settings):
    """The seed, which the data and the training both need."""

    seed: int = setting(0, "seed of every random choice", _between(0, _MOST))


@dataclass(frozen=True)
class DataSettings(SeedSettings):
    """Which images are read, and how they are cut into the training, validation and test sets."""

    dataset: str = setting("", "glyphs, folder, or the name of a TFDS dataset")
    split: str = setting(
        "", "split to use of a TFDS dataset that has other ones than train and test, e.g. small1 of omniglot"
    )
    stream: bool = setting(False, "leave the JPEGs of a TFDS dataset in its files, with a random-resized crop")
    image_size: int = setting(
        32, "height and width of the images in pixels; 0 = as they are, if all are alike", _between(0, 4096)
    )
    channels: int = setting(3, "1 = grey, 3 = colour", _one_of(1, 3))
    train_examples: int = setting(0, "largest number of training images; 0 = all", _between(0, _MOST))
    validation_examples: int = setting(
        1000,
        "number of training images held out for validation; 0 = use validation_fraction or validation_per_class",
        _between(0, _MOST),
    )
    validation_fraction: float = setting(
        0.0,
        "fraction of the training images held out for validation; 0 = use validation_examples or validation_per_class",
        _between(0, 0.9),
    )
    validation_dir: str = setting(
        "",
        "of a folder: CLASS/*.png with labels checked by hand, the validation set; by default its validation/",
        before="",
    )
    validation_split: str = setting(
        "", "of a TFDS dataset: the split that is the validation set, instead of images held out", before=""
    )
    test_fraction: float = setting(
        0.2,
        "fraction of the images held out for testing, where there is no test set and no test_per_class",
        _between(0.01, 0.9),
    )
    train_per_class: int = setting(
        0,
        "number of images of each class, those for validation included; 0 = all (glyphs: a fixed number)",
        _between(0, _MOST),
    )
    validation_per_class: int = setting(
        0,
        "number of these held out for validation; 0 = use validation_examples or validation_fraction",
        _between(0, _MOST),
    )
    test_per_class: int = setting(
        0, "number of test images of each class; 0 = all, or test_fraction", _between(0, _MOST)
    )
    skip_corrupt: bool = setting(False, "leave out unreadable files of a folder and count them")
    families: str = setting("shape,hue,angle", "of glyphs: which families of classes to draw")
    train_on_validation: bool = setting(False, "also train on the validation images, as the baselines do")
    label_noise: float = setting(
        0.0, "for experiments: fraction of the training labels replaced by another class", _between(0, 1)
    )
    label_noise_kind: str = setting(
        "uniform",
        "by which class: uniform = any, flip = one of each class, pairs = one similar to it, of some classes",
        _one_of("uniform", "flip", "pairs"),  # data.imperfect.LABEL_NOISE
        before="uniform",
    )
    long_tail: float = setting(
        1.0,
        "for experiments: training images of the first class over those of the last, falling exponentially; 1 = all",
        _between(1, 10_000),
        before=1.0,
    )
    rare_classes: int = setting(
        0,
        "for experiments: number of classes, the first ones, cut to a tenth of their training images",
        _between(0, _MOST),
        before=0,
    )


@dataclass(frozen=True)
class Augmentation(Settings):
    """How a training image is changed before the network sees it.

    Attributes:
        policy: metaaugment, uniform, randaugment, trivialaugment or none.
        padding: pixels on each side before the standard crop; 0 = no crop.
        flip: horizontal flip with probability 1/2.
        cutout: side in pixels of the square that Cutout blanks; 0 = none.
        fill: 0 to 255, the grey level of pixels that come from outside the image.
        randaugment_magnitude: 0 to 10, for the randaugment policy.
        transforms_per_sample: number of times each image is in a batch, each time augmented again (Hoffer et al.,
            arXiv 1901.09335); a batch then has batch_size * transforms_per_sample images.
    """

    policy: str = setting(
        "metaaugment", "how training images are augmented", _row_of("augmentation.policies", "POLICIES")
    )
    padding: int = setting(4, "pixels added on each side before the standard crop; 0 = no crop", _between(0, 1024))
    flip: bool = setting(True, "mirror images left to right with probability 1/2")
    cutout: int = setting(0, "side in pixels of the square that Cutout blanks; 0 = none", _between(0, 4096))
    fill: int = setting(128, "grey level of pixels from outside the image", _between(0, 255))
    randaugment_magnitude: float = setting(9.0, "magnitude of --policy=randaugment", _between(0, 10))
    transforms_per_sample: int = setting(
        1, "number of times each image is in a batch, each time augmented again", _between(1, 64)
    )


@dataclass(frozen=True)
class NetworkSettings(Settings):
    """The task network."""

    model: str = setting(
        "wide_resnet",
        "task network (docs/networks.md)",
        _row_of(
            "tasks.registry",
            "NETWORKS",
            or_prefix="applications/",
            else_words=" or applications/NAME with a NAME in keras.applications",
        ),
    )
    depth: int = setting(
        16,
        "layers of wide_resnet",
        Rule(lambda depth: 10 <= depth <= 202 and depth % 6 == 4, lambda: "6n+4: 10, 16, 22, 28, 34, 40, ..., 202"),
    )
    width: int = setting(2, "width factor of wide_resnet and conv_net", _between(1, 32))
    network_image_size: int = setting(
        0,
        "of applications/NAME: size in pixels that images are resized to inside the model; 0 = none",
        _between(0, 4096),
    )
    pretrained: bool = setting(False, "of applications/NAME: start from the ImageNet weights")
    freeze_backbone: bool = setting(False, "of applications/NAME: train the last layer alone")
    dtype: str = setting(
        "float32", "precision of the task network; variables stay float32", _one_of("float32", "mixed_bfloat16")
    )
    synchronise_batch_norm: bool = setting(
        False, "compute BatchNorm's statistics over the images of all devices instead of each device's own"
    )


@dataclass(frozen=True)
class OptimizerSettings(Settings):
    """The task network's optimizer and loss."""

    learning_rate: float = setting(
        0.1, "highest learning rate of SGD, with linear warm-up and cosine decay to 0", _between(1e-8, 100)
    )
    momentum: float = setting(0.9, "Nesterov momentum of SGD", _between(0, 0.999))
    weight_decay: float = setting(5e-4, "factor of the L2 penalty", _between(0, 1))
    decay_scales_and_biases: bool = setting(True, "whether BatchNorm's scales and all biases decay too")
    warmup_epochs: int = setting(1, "epochs of linear warm-up", _between(0, 999_999))
    label_smoothing: float = setting(0.0, "label smoothing of the training and validation losses", _between(0, 0.9))
    ema_momentum: float = setting(
        0.0,
        "momentum of an average of the weights, which is then evaluated and exported; 0 = no average",
        _between(0, 0.99999),
    )


@dataclass(frozen=True)
class PolicySettings(Settings):
    """The policy network, its meta-gradient, and the sampler."""

    policy_head: str = setting(
        "contrast",
        "how the policy network joins image and transformation (docs/policy.md)",
        _row_of("policy.choices", "HEADS"),
    )
    policy_hidden_units: int = setting(100, "width of each of its two branches", _between(1, 2**14))
    policy_evidence: str = setting(
        "doubt,frequency",
        "what else the policy network sees of a sample, some of doubt,doubt_now,frequency (docs/policy.md)",
        _some_of("policy.choices", "EVIDENCE"),
        before="",
    )
    policy_learning_rate: float = setting(
        3e-3, "learning rate of the policy network's Adam optimizer", _between(1e-8, 100)
    )
    policy_warmup_fraction: float = setting(
        0.2, "fraction of all training steps, at the start, in which the policy is frozen", _between(0, 1)
    )
    meta_gradient: str = setting(
        "exact", "how the meta-gradient is taken (docs/meta-gradient.md)", _row_of("meta.choices", "METHODS")
    )
    meta_every: int = setting(
        1, "number of training steps from one update of the policy to the next", _between(1, _MOST)
    )
    normalise_weights: bool = setting(True, "weights of a batch sum to 1; otherwise they are divided by its size")
    weighting: str = setting(
        "learned",
        "whether the learned weights count in training; equal and shuffled are for comparison",
        _row_of("meta.choices", "WEIGHTINGS"),
    )
    sampler_epsilon: float = setting(
        0.1, "fraction of the sampler's draws that keep the initial distribution", _between(0, 1)
    )
    sampler_identity_odds: float = setting(
        1.0,
        "how often an operation is Identity in the initial distribution, relative to each other one; 13 = half",
        _between(0.01, 100),
    )
    sampler_history_epochs: int = setting(
        5, "number of past epochs whose weights make the sampler's table", _between(1, 1000)
    )


@dataclass(frozen=True)
class RunSettings(SeedSettings):
    """How long a run trains, on what batches, and what it keeps."""

    epochs: int = setting(
        100, "passes over the training images", _between(1, 999_999)
    )  # names of checkpoints: 6 digits
    batch_size: int = setting(128, "training images a step", _between(1, 2**20))
    validation_batch_size: int = setting(128, "validation images a step, for the meta-gradient", _between(1, 2**20))
    data_service: str = setting(
        "",
        "tf.data services on other machines that make the batches, HOST:PORT,HOST2:PORT (docs/input.md)",
        may_change=True,
    )
    checkpoint_minutes: float = setting(
        10.0,
        "time between two checkpoints within an epoch; 0 = after every step",
        _between(0, 10**6),
        may_change=True,
    )
    checkpoints_kept: int = setting(3, "number of most recent checkpoints to keep", _between(1, 10**6), may_change=True)
    jit_compile: str = setting(
        "auto", "compile the training step with XLA; auto = where there is a GPU", _one_of("auto", "True", "False")
    )
    measure_step_ratio: bool = setting(False, "at the end, measure the time of a step against a plain one")


# In the order of --help.
RECORDS: tuple[type[Settings], ...] = (
    RunSettings,
    DataSettings,
    Augmentation,
    NetworkSettings,
    OptimizerSettings,
    PolicySettings,
)
