"""A run knows its data: it resumes with no others, and is evaluated and exported under its own classes' names."""

import json
import shutil
import subprocess
import sys

import pytest
from data_settings import PREPARED, needs_omniglot, write_images
from in_process import in_process

from metaaug_tf.checkpoints.folder import CheckpointFolder
from metaaug_tf.data.sources.identity import DataIdentity, identify
from metaaug_tf.settings import DataSettings

SMALL = ["--dataset=folder", "--config.image_size=8", "--config.batch_size=8", "--config.validation_batch_size=4"]
SMALL += ["--config.model=conv_net", "--config.width=1", "--policy=none", "--config.jit_compile=False"]
SMALL += ["--config.epochs=2", "--config.warmup_epochs=0"]
CLASSES = ["ant", "bee"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, CLASSES, 20)
    return folder


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command line; gives its exit code and what it says."""
    return lambda *arguments: in_process(arguments, monkeypatch, capfd)


def changed(images, tmp_path, change):
    """A copy of the images with something else in it."""
    copy = tmp_path / "changed"
    shutil.copytree(images, copy)
    if change == "missing":
        (copy / "ant" / "3.png").unlink()
    elif change == "added":
        shutil.copy(copy / "ant" / "3.png", copy / "ant" / "more.png")
    elif change == "changed":
        (copy / "bee" / "4.png").write_bytes((copy / "bee" / "4.png").read_bytes() + b"\0")
    else:
        (copy / "ant").rename(copy / "asp")
    return copy


@pytest.fixture(scope="module")
def stopped(images, tmp_path_factory):
    """A run's folder after the first of two epochs."""
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    arguments = [*SMALL, f"--data_dir={images}", f"--workdir={workdir}"]
    done = subprocess.run([sys.executable, "-m", "metaaug_tf.main", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (workdir / "summary.json").unlink()
    shutil.rmtree(workdir / "checkpoints" / "000002-000000000")
    return workdir


@pytest.mark.parametrize("change", ["missing", "added", "changed", "renamed"])
def test_other_data_are_rejected_with_the_difference(change, stopped, images, tmp_path, command):
    workdir = tmp_path / "run"
    shutil.copytree(stopped, workdir)
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != ".lock"}
    arguments = [*SMALL, f"--workdir={workdir}"]
    code, errors = command(f"--data_dir={changed(images, tmp_path, change)}", *arguments)
    assert code == 2 and "are not those that the run" in errors and "--fork=NEWDIR" in errors
    named = {"missing": "missing: 1 file(s): ant/3.png", "added": "added: 1 file(s): ant/more.png"}
    named |= {"changed": "changed: 1 file(s): bee/4.png", "renamed": "missing: 20 file(s): ant/0.png"}
    assert named[change] in errors
    assert before == {path: path.read_bytes() for path in before}, "nothing is lost"


@pytest.mark.long
def test_the_same_data_elsewhere_are_the_same(stopped, images, tmp_path, command):
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(stopped, workdir)
    shutil.copytree(images, moved)
    arguments = [*SMALL, f"--workdir={workdir}"]
    assert command(f"--data_dir={moved}", *arguments)[0] == 0
    code, errors = command(f"--data_dir={changed(images, tmp_path, 'added')}", *arguments)
    assert code == 2 and "ant/more.png" in errors, "a finished run is not taken for one of other data"
    assert command(f"--workdir={workdir}", "--mode=evaluate")[0] == 0, "the run knows where its data are"
    code, errors = command(
        f"--workdir={workdir}", "--mode=evaluate", f"--data_dir={changed(images, tmp_path / 'x', 'renamed')}"
    )
    assert code == 2 and '["ant", "bee"], got ["asp", "bee"]' in errors
    shutil.rmtree(moved)
    assert command(f"--workdir={workdir}", "--mode=export", "--dataset=folder")[0] == 0
    names = (workdir / "export/task/2/assets/class_names.txt").read_text(encoding="utf-8").split()
    assert names == CLASSES, "an export needs no data"


@pytest.mark.long
def test_a_fork_may_have_other_images_but_no_other_classes(stopped, images, tmp_path, command):
    arguments = [
        *SMALL,
        f"--workdir={stopped}",
        f"--fork={tmp_path / 'fork'}",
    ]
    code, errors = command(f"--data_dir={changed(images, tmp_path, 'renamed')}", *arguments)
    assert code == 2 and '"asp"' in errors and not (tmp_path / "fork").exists()
    assert command(f"--data_dir={changed(images, tmp_path / 'x', 'added')}", *arguments)[0] == 0
    assert "ant/more.png" in json.loads((tmp_path / "fork/data.json").read_text())["identity"]["files"]


@pytest.mark.long
def test_a_fork_remembers_nothing_of_images_that_may_be_others(images, tmp_path, command):
    more = shutil.copytree(images, tmp_path / "more")
    for name in CLASSES:
        for k in range(8):
            shutil.copy(more / name / f"{k}.png", more / name / f"more{k}.png")
    run, fork, arguments = tmp_path / "run", tmp_path / "fork", [*SMALL, "--policy=metaaugment"]
    assert command(*arguments, f"--data_dir={images}", f"--workdir={run}", "--config.epochs=1")[0] == 0
    code, errors = command(*arguments, f"--data_dir={more}", f"--workdir={run}", f"--fork={fork}")
    assert code == 0, errors
    visits = [CheckpointFolder(path / "checkpoints").newest_whole().tensors["memory/00001"] for path in (run, fork)]
    assert len(visits[1]) > len(visits[0]) and visits[0].max() == visits[1].max() == 1


@needs_omniglot
def test_a_tfds_dataset_is_known_by_name_version_and_files():
    found = identify(DataSettings(dataset="omniglot", split="small1"), str(PREPARED))
    assert found.source == "omniglot/3.0.0" and list(found.files) == ["omniglot-small1.tfrecord-00000-of-00001"]
    other = DataIdentity("omniglot/2.0.0", found.folder, found.files)
    assert found.difference(other) == "  dataset: omniglot/3.0.0 -> omniglot/2.0.0" and found.difference(found) == ""


def test_many_differences_are_counted_and_the_first_named():
    files = {f"{k}.png": 1 for k in range(9)}
    assert DataIdentity("folder", "", files).difference(DataIdentity("folder")) == (
        "  missing: 9 file(s): 0.png, 1.png, 2.png, 3.png, 4.png, ..."
    )
