"""Every network with every dataset: built from its config, two meta steps on mock data and shrunken images.

The mock data are written by each dataset's own TFDS builder, so names, features and splits are the real ones;
tfds.testing.mock_data has no files, which streaming reads, and no sizes of splits.
"""

import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds

import metaaug_tf as ma
from metaaug_tf.config import Config, check_config, config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.settings import Augmentation
from metaaug_tf.tasks.registry import NETWORKS
from metaaug_tf.training.build import build_model

# Classes and images of a class that are written, their size, the splits, and what else an example has.
DATASETS = {
    "cifar10": (10, 4, 32, ("train", "test"), {"id": "train_0"}),
    "cifar100": (100, 3, 32, ("train", "test"), {"id": "train_0", "coarse_label": 0}),
    "svhn_cropped": (10, 4, 32, ("train", "test"), {"id": "train_0"}),
    "omniglot": (5, 10, 105, ("train", "test"), {"alphabet": 0, "alphabet_char_id": 0}),
    "imagenet2012": (10, 4, 80, ("train", "validation"), {"file_name": "n0.JPEG"}),
}
ANY_DATASET = ["wide_resnet", "applications/MobileNetV3Small"]
IMAGENET_NETWORKS = ["resnet_50", "resnet_200"]
CIFAR_NETWORKS = [name for name in NETWORKS if name not in (*ANY_DATASET, *IMAGENET_NETWORKS)]


def pairs():
    """One pair is in the fast suite, besides the streamed one below."""
    for dataset in DATASETS:
        own = IMAGENET_NETWORKS if dataset == "imagenet2012" else CIFAR_NETWORKS
        for network in [*ANY_DATASET, *own]:
            fast = (dataset, network) == ("cifar10", "conv_net")
            if (dataset, network) != ("imagenet2012", "wide_resnet"):
                yield pytest.param(dataset, network, marks=[] if fast else pytest.mark.slow)


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """(name) -> folder with the dataset `name`, written once by its own builder with random images."""
    folder = tmp_path_factory.mktemp("tfds")

    def write(name):
        if (folder / name).exists():
            return folder
        classes, per_class, size, splits, others = DATASETS[name]
        builder = tfds.builder(name, data_dir=folder)

        def examples(split):
            random = np.random.default_rng(len(split))
            for number, label in enumerate(itertools.chain(*[range(classes)] * per_class)):
                others_now = {
                    key: f"{value}{number}" if isinstance(value, str) else value for key, value in others.items()
                }
                image = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
                yield f"{split}{number}", {"image": image, "label": label, **others_now}

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                type(builder), "_split_generators", lambda self, _: {split: examples(split) for split in splits}
            )
            builder.download_and_prepare()
        return folder

    return write


def shrunken(dataset, network, **changes):
    """The dataset's config with a small batch, small images and as many of them as were written."""
    config = config_for(dataset).to_dict()
    config |= {"dataset": dataset, "model": network, "batch_size": 4, "validation_batch_size": 4, "epochs": 1}
    config |= {"image_size": 32 if "resnet_" in network or "applications" in network else 8}
    config |= {"jit_compile": "False", "warmup_epochs": 0, "cutout": min(config["cutout"], 2), "depth": 10, "width": 1}
    if config["validation_examples"]:
        config["validation_examples"] = DATASETS[dataset][0]
    check_config(config | changes)
    return config | changes


def two_meta_steps(config, folder):
    data = load_dataset(config, str(folder))
    model = build_model(Config.of(config), len(data.class_names), data.train.image_shape, 2)
    training = ma.training_dataset(
        data.train,
        data.validation,
        model.sampler,
        batch_size=config["batch_size"],
        validation_batch_size=config["validation_batch_size"],
        augmentation=Augmentation.of(config),
    )
    before = [variable.numpy().copy() for variable in model.policy_network.trainable_variables]
    history = model.fit(training.take(2), epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 2
    assert np.isfinite(history.history["loss"][0]) and np.isfinite(history.history["meta_loss"][0])
    after = model.policy_network.trainable_variables
    assert all(np.isfinite(variable.numpy()).all() for variable in [*after, *model.task.trainable_variables])
    assert max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)) > 0
    return model, data


@pytest.mark.long
@pytest.mark.parametrize(("dataset", "network"), pairs())
def test_a_pair_takes_two_meta_steps(dataset, network, prepare):
    two_meta_steps(shrunken(dataset, network), prepare(dataset))


@pytest.mark.long
def test_imagenet_is_streamed_and_evaluated_on_tfds_validation_split(prepare):
    _, data = two_meta_steps(shrunken("imagenet2012", "wide_resnet"), prepare("imagenet2012"))
    assert not isinstance(data.train, ma.Examples) and len(data.class_names) == 1000
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 40)


@pytest.mark.parametrize("dataset", ["cifar10", "svhn_cropped", "imagenet2012"])
def test_the_config_builds_the_network_it_names(dataset):
    """Publication sizes, as configs give them, without any override."""
    config = config_for(dataset).to_dict()
    wanted = {"cifar10": ("wide_resnet", 40, 2), "svhn_cropped": ("wrn_28_10",), "imagenet2012": ("resnet_50",)}
    found = (config["model"], config["depth"], config["width"])
    assert found[: len(wanted[dataset])] == wanted[dataset]
