"""--distribution and --devices: what they give, and what can't be is refused before anything is made."""

import json

import pytest
import tensorflow as tf
from pretended_workers import Pretending

from metaaug_tf.config import Config, config_for
from metaaug_tf.errors import UserError
from metaaug_tf.training.train import train
from metaaug_tf.workers import start as distribution

CONFIG = config_for("glyphs").to_dict()
ALONE = json.dumps({"cluster": {"worker": ["127.0.0.1:12345"]}, "task": {"type": "worker", "index": 0}})
GPUS = [tf.config.PhysicalDevice(f"/physical_device:GPU:{number}", "GPU") for number in range(4)]


@pytest.fixture
def four_gpus(monkeypatch):
    """Lets TensorFlow's answer be that there are four GPUs; the list returned is that of those made visible."""
    visible = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: GPUS if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: visible.extend(devices))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: devices)
    monkeypatch.setattr(distribution, "Workers", lambda strategy: strategy)
    return visible


@pytest.mark.parametrize(("devices", "names"), [(0, 4), (3, 3), (4, 4)])
def test_mirrored_takes_the_first_gpus_or_all(four_gpus, devices, names):
    assert distribution.start("mirrored", devices, CONFIG) == [f"GPU:{number}" for number in range(names)]
    assert four_gpus == GPUS[:names]


@pytest.mark.parametrize("kind", ["mirrored", "multi_worker"])
def test_more_gpus_than_there_are(four_gpus, monkeypatch, kind):
    monkeypatch.setenv("TF_CONFIG", ALONE)
    with pytest.raises(UserError, match=r"--devices=5, but this machine has only 4 GPU"):
        distribution.start(kind, 5, CONFIG)
    assert four_gpus == []


def test_more_logical_devices_than_cores():
    with pytest.raises(UserError, match=r"--devices=100000, but TensorFlow sees no GPU here.*core\(s\)"):
        distribution.start("mirrored", 100_000, CONFIG)


def test_a_worker_without_gpus_has_one_device(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", ALONE)
    with pytest.raises(UserError, match="--devices=2, but without GPUs"):
        distribution.start("multi_worker", 2, CONFIG)


def test_devices_without_a_distribution():
    with pytest.raises(UserError, match="--devices=2 needs --distribution"):
        distribution.start("none", 2, CONFIG)


def test_without_a_distribution_one_process_trains_alone():
    workers = distribution.start("none", 0, CONFIG)
    assert (workers.count, workers.replicas, workers.is_chief) == (1, 1, True)


def test_batches_are_refused_before_data_are_read_or_folders_made(tmp_path):
    class OfThree(Pretending):
        replicas = 3

    config = {**CONFIG, "batch_size": 64, "validation_batch_size": 32}
    with pytest.raises(
        UserError, match="batch_size .*3 devices, got 64; use 63 or 66\n.*validation_batch_size .*30 or 33"
    ):
        train(Config.of(config), tmp_path / "run", "absent", workers=OfThree(0, None))
    assert not list(tmp_path.iterdir())
