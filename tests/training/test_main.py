"""The command line end to end on a few steps, what it leaves behind, and what it says of bad input."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_process import in_process

from metaaug_tf.run_folder import PolicyFolder, RunFolder

SMALL = (
    "--config.train_per_class=4",
    "--config.validation_per_class=2",
    "--config.test_per_class=2",
    "--config.batch_size=24",
    "--config.validation_batch_size=24",
    "--config.warmup_epochs=0",
    "--config.measure_step_ratio=False",
    "--config.jit_compile=False",
)


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "metaaug_tf.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "small"
    done = command(f"--workdir={workdir}", "--config.epochs=2", *SMALL)
    assert done.returncode == 0, done.stderr
    return workdir


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def named_paths(folder):
    """All paths that a RunFolder or PolicyFolder names."""
    values = vars(folder).values()
    inner = [path for value in values if isinstance(value, PolicyFolder) for path in named_paths(value)]
    return {value for value in values if isinstance(value, Path)} | set(inner)


def test_run_folder_names_all_that_a_finished_run_leaves_and_no_more(run):
    named = named_paths(RunFolder(run))
    assert all(path.exists() for path in named), "and a run with a policy leaves each of them"
    # What a named folder holds is its owner's, unless the run folder names parts of it.
    ends = {path for path in named if not any(path in other.parents for other in named)}
    for path in filter(Path.is_file, run.rglob("*")):
        assert ends & {path, *path.parents}, f"{path} is not named"


def test_run_folder_is_complete(run):
    for name in (
        "config.json",
        "classes.json",
        "report.html",
        "checkpoints/000002-000000000/SHA256SUMS",
        "policy/observations.npz",
    ):
        assert (run / name).is_file(), name
    assert any((run / "tensorboard").rglob("events*"))
    assert [row["epoch"] for row in rows(run)] == [0, 1]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["dataset"] == "glyphs" and summary["policy"] == "metaaugment" and summary["epochs"] == 2
    assert 0 <= summary["test_accuracy"] <= 1 and 0 <= summary["input_bound_fraction"] <= 1
    assert summary["images_per_second"] > 0 and summary["step_ratio"] is None
    sampler = json.loads((run / "policy/sampler.json").read_text())
    assert len(sampler["operations"]) == 14 and np.shape(sampler["probabilities"]) == (14, 14)
    assert np.sum(sampler["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert [epoch for epoch, _ in sampler["history"]] == [0, 1, 2]
    assert "<html" in (run / "report.html").read_text()


SERVE = """
import json, sys, numpy as np, tensorflow as tf
folder, images, encoded = sys.argv[1], np.load(sys.argv[2]), sys.argv[3:]
task = tf.saved_model.load(folder + "/task/1")
by_pixels = task.signatures["serving_default"](images=tf.constant(images))
by_bytes = task.signatures["serving_bytes"](image_bytes=tf.constant([open(path, "rb").read() for path in encoded]))
policy = tf.saved_model.load(folder + "/policy/1").signatures["serving_default"]
weights = policy(images=tf.constant(images), pairs=tf.zeros([2, 2], tf.int32), magnitudes=tf.zeros([2, 2]))
assert not [name for name in sys.modules if name.startswith("metaaug_tf")]
print(json.dumps([by_pixels["probabilities"].numpy().tolist(), by_pixels["classes"].numpy().tolist(),
                  by_bytes["probabilities"].numpy().tolist(), weights["weights"].numpy().tolist()]))
"""


@pytest.mark.long
def test_exports_serve_in_a_process_without_this_package(run, tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, image in zip(paths, images, strict=True):
        pillow.fromarray(image).save(path)
    arguments = [run / "export", tmp_path / "images.npy", *paths]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    pixels, classes, encoded, weights = json.loads(done.stdout)
    np.testing.assert_allclose(np.sum(pixels, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.argmax(pixels, axis=1), classes)
    np.testing.assert_allclose(pixels, encoded, atol=1e-6)
    assert all(0 < weight < 1 for weight in weights)
    names = (run / "export/task/1/assets/class_names.txt").read_text().split()
    assert names == json.loads((run / "classes.json").read_text())["class_names"]
    assert len(names) == len(pixels[0])


def test_same_command_again_says_that_the_run_is_finished(run, monkeypatch, capfd):
    code, _ = in_process([f"--workdir={run}", "--config.epochs=2", *SMALL], monkeypatch, capfd)
    assert code == 0 and len(rows(run)) == 2


@pytest.mark.long
def test_evaluate_and_export_of_a_finished_run(run):
    evaluated = command(f"--workdir={run}", "--mode=evaluate")
    summary = json.loads((run / "summary.json").read_text())
    result = json.loads(evaluated.stdout.splitlines()[-1])
    assert result["test_accuracy"] == pytest.approx(summary["test_accuracy"], abs=1e-6)
    exported = command(f"--workdir={run}", "--mode=export")
    assert exported.returncode == 0 and (run / "export/task/2/saved_model.pb").is_file()


def test_another_config_in_the_same_workdir_is_refused(run, monkeypatch, capfd):
    code, stderr = in_process([f"--workdir={run}", "--config.epochs=3", *SMALL], monkeypatch, capfd)
    assert code == 2 and "epochs: 2 -> 3" in stderr


def test_help_lists_flags_and_settings():
    done = command("--help", "--dataset=omniglot")
    assert done.returncode == 0
    for text in ("--data_dir", "--workdir", "--policy", "--seed", "fill=255"):
        assert text in done.stdout


def test_help_and_checks_of_settings_do_not_wait_for_tensorflow():
    code = "import sys; from metaaug_tf import main; sys.argv = ['main', '--dataset=glyphs']; main.parse(); "
    code += "main.resolve_config(); main.help_text(); print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


BAD_INPUT = [
    (["--config.epoch=3"], 'Did you mean "epochs"'),
    (["--config.epochs=many"], "invalid literal"),
    (["--config.depth=11"], "6n+4"),
    (["--config.padding=-1", "--config.fill=300"], "from 0 to 255"),
    (["--policy=best"], "metaaugment"),
    (["--nonsense=1"], "Unknown command line flag"),
    (["glyphs"], "unexpected argument"),
    (["--dataset=cifar11"], "cifar10"),
    (["--config.batch_size=100000"], "must be at most the "),
    (["--dataset=folder", "--data_dir=absent"], "absent"),
    (["--config.train_per_class=100000"], "at most 2000"),
    (["--config.train_per_class=10", "--config.validation_per_class=10"], "too few"),
    (["--mode=evaluate", "--workdir=absent"], "not a run folder"),
    (["--show_policy=absent"], "not a policy folder"),
    (["--mode=export", "--export_format=torch", "--workdir=absent"], "allowed: onnx, litert"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT, ids=lambda value: str(value)[:30])
def test_bad_input_gets_a_message_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code, stderr = in_process(arguments, monkeypatch, capfd)
    assert code == 2
    assert message in stderr and "Traceback" not in stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_workdir_with_other_files_or_none_that_can_be_made(tmp_path, monkeypatch, capfd):
    (tmp_path / "notes.txt").write_text("mine")
    code, stderr = in_process([f"--workdir={tmp_path}", *SMALL], monkeypatch, capfd)
    assert code == 2 and "not empty" in stderr and "notes.txt" in stderr
    code, stderr = in_process([f"--workdir={tmp_path / 'notes.txt' / 'run'}", *SMALL], monkeypatch, capfd)
    assert code == 2 and "is not writable" in stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
