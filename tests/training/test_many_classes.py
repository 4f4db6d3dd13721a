"""Data of many classes: each command ends, and what it takes and writes is in proportion to them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from in_process import in_process

from metaaug_tf.run_folder import RunFolder

SETTINGS = (
    "--dataset=folder",
    "--config.epochs=1",
    "--config.warmup_epochs=0",
    "--config.batch_size=500",
    "--config.validation_batch_size=500",
    "--config.measure_step_ratio=False",
    "--config.jit_compile=False",
)
# A page of 60 classes has about as much; 20,000 names alone take 0.3 MB.
MOST_REPORT_BYTES = 2_000_000


def write_folder(root, classes, images):
    """Writes a folder of a number of classes, each with a number of images of 8 x 8; returns the names."""
    random = np.random.default_rng(0)
    encoded = [tf.io.encode_png(random.integers(0, 256, (8, 8, 3), np.uint8)).numpy() for _ in range(10)]
    names = [f"class {number:05d}" for number in range(classes)]
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for image in range(images):
            (root / name / f"{image}.png").write_bytes(encoded[(number + image) % len(encoded)])
    return names


@pytest.mark.parametrize(
    "classes", [pytest.param(1_000, marks=pytest.mark.long), pytest.param(20_000, marks=pytest.mark.slow)]
)
def test_all_commands_end_on_many_classes(tmp_path, monkeypatch, capfd, classes):
    names, run = write_folder(tmp_path / "data", classes, 3), RunFolder(tmp_path / "run")
    arguments = (*SETTINGS, f"--data_dir={tmp_path / 'data'}", f"--workdir={run.path}")
    for more in (["--check_data"], [], ["--mode=evaluate"], ["--mode=export"], ["--mode=report"]):
        workdir = [f"--workdir={tmp_path / 'sheet'}"] if more == ["--check_data"] else []
        code, errors = in_process([*arguments, *more, *workdir], monkeypatch, capfd)
        assert code == 0, (more, errors)
    assert json.loads(run.classes.read_text())["class_names"] == names
    for version in ("1", "2"):
        assert (run.task_export / version / "assets/class_names.txt").read_text().splitlines() == names
    assert run.report.stat().st_size < MOST_REPORT_BYTES


def test_many_classes_of_a_single_image_are_rejected(tmp_path, monkeypatch, capfd):
    write_folder(tmp_path / "data", 1_000, 1)
    arguments = (*SETTINGS, f"--data_dir={tmp_path / 'data'}", f"--workdir={tmp_path / 'run'}")
    code, errors = in_process(arguments, monkeypatch, capfd)
    assert code == 2 and "class 'class 00000' has too few images for the split: 1 there" in errors
    assert len(errors) < 1_000 and not (tmp_path / "run").exists()
