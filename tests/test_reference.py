"""What was made on commit 7bae695 still loads, and the same seed still gives the same run (tests/reference)."""

import importlib
import json
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from in_process import in_process

import metaaug_tf as ma
from metaaug_tf.moved import MOVED, RENAMED

REFERENCE = Path(__file__).parent / "reference"
sys.path.insert(0, str(REFERENCE))
import make_reference  # noqa: E402

ROWS = json.loads((REFERENCE / "rows.json").read_text(encoding="utf-8"))
QUICK = "exact", "uniform"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The finished run of 7bae695."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    zipfile.ZipFile(REFERENCE / "run.zip").extractall(folder)
    return folder


def test_batches_are_the_same_to_the_bit():
    assert make_reference.batch_digests() == json.loads((REFERENCE / "batches.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in QUICK else pytest.mark.slow) for name in ROWS["runs"]]
)
def test_metrics_are_the_same_to_the_last_digit(name, tmp_path):
    """On the same kind of processor; another one rounds otherwise, so there they only have to be close."""
    make_reference.train(tmp_path / "run", make_reference.RUNS[name])
    found, wanted = make_reference.rows_of(tmp_path / "run"), ROWS["runs"][name]
    if make_reference.processor() == ROWS["processor"]:
        assert found == wanted
    else:
        for one, other in zip(found["rows"], wanted["rows"], strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_a_saved_model_is_as_it_was():
    model = keras.models.load_model(REFERENCE / "model.keras")
    with np.load(REFERENCE / "model.npz") as wanted:
        images = wanted["images"]
        np.testing.assert_allclose(model.predict(images, verbose=0), wanted["predictions"], atol=1e-6)
        weights = model.policy_network(model.features(images), wanted["embedding"])
        np.testing.assert_allclose(weights, wanted["weights"], atol=1e-6)
        np.testing.assert_array_equal(model.sampler.probabilities, wanted["probabilities"])
        np.testing.assert_array_equal(model.optimizer.variables[2], wanted["momentum"])
        np.testing.assert_array_equal(model.policy_optimizer.variables[2], wanted["policy_moment"])
        assert model.sampler.epoch == wanted["epoch"] and model.sampler.identity_odds == 2.0
    train, validation = make_reference.examples(40, 0), make_reference.examples(12, 1)
    model.fit(ma.training_dataset(train, validation, model.sampler, batch_size=8), epochs=1, verbose=0)


def test_a_saved_layer_draws_as_it_did():
    (layer,) = (
        layer
        for layer in keras.models.load_model(REFERENCE / "augment.keras").layers
        if isinstance(layer, ma.LearnedAugment)
    )
    with np.load(REFERENCE / "model.npz") as wanted:
        table = wanted["probabilities"]
    pairs, magnitudes = layer.draw(6, seed=3)
    expected = ma.draw_transformations("metaaugment", table, 3, 0, np.arange(6))
    assert layer.fill == 9 and layer.seed == 4
    np.testing.assert_array_equal(pairs, expected[0])
    np.testing.assert_array_equal(magnitudes, expected[1])


def test_a_finished_run_is_evaluated_and_reported(run, monkeypatch, capfd):
    assert in_process(["--mode=evaluate", f"--workdir={run}"], monkeypatch, capfd)[0] == 0
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert in_process([f"--show_policy={run / 'policy'}"], monkeypatch, capfd)[0] == 0
    assert in_process(["--mode=report", f"--workdir={run}"], monkeypatch, capfd)[0] == 0
    assert f"{100 * summary['test_accuracy']:.1f} %" in (run / "report.html").read_text(encoding="utf-8")
    augment = ma.LearnedAugment.load(run / "policy")
    assert augment(np.zeros((3, 32, 32, 3), np.uint8), seed=1).shape == (3, 32, 32, 3)


def test_the_same_command_finds_the_run_finished(run, monkeypatch, capfd):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    arguments = [f"--config.{key}={value}" for key, value in config.items() if key not in ("dataset", "policy", "seed")]
    code, errors = in_process(["--dataset=glyphs", f"--workdir={run}", *arguments], monkeypatch, capfd)
    assert code == 0, errors


@pytest.mark.long
def test_a_finished_run_is_forked(run, tmp_path, monkeypatch, capfd):
    config = json.loads((run / "config.json").read_text(encoding="utf-8")) | {"epochs": 4}
    arguments = [f"--config.{key}={value}" for key, value in config.items() if key not in ("dataset", "policy", "seed")]
    where = [f"--workdir={run}", f"--fork={tmp_path / 'fork'}"]
    code, errors = in_process(["--dataset=glyphs", *where, *arguments], monkeypatch, capfd)
    assert code == 0 and len((tmp_path / "fork/metrics.jsonl").read_text().splitlines()) == 4, errors


@pytest.mark.long
def test_a_finished_run_is_exported(run, monkeypatch, capfd):
    assert in_process(["--mode=export", f"--workdir={run}"], monkeypatch, capfd)[0] == 0
    assert {path.name for path in (run / "export").iterdir()} == {"task", "policy", "augment"}


@pytest.mark.parametrize("old", MOVED)
def test_old_paths_lead_to_the_new_modules(old, monkeypatch):
    monkeypatch.delitem(sys.modules, f"metaaug_tf.{old}", raising=False)
    home = __import__(f"metaaug_tf.{MOVED[old]}", fromlist=["_"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alias = __import__(f"metaaug_tf.{old}", fromlist=["_"])
    assert any(issubclass(warning.category, DeprecationWarning) for warning in caught)
    name = next(name for name in vars(home) if not name.startswith("_"))
    original = getattr(home, name)
    assert getattr(alias, name) is original
    setattr(alias, name, "patched")
    try:
        assert getattr(home, name) == "patched"
    finally:
        setattr(home, name, original)


@pytest.mark.parametrize(("home", "old"), [(home, old) for home, names in RENAMED.items() for old in names])
def test_old_names_in_old_paths_lead_to_the_new_names(home, old):
    path = next(path for path, new in MOVED.items() if new == home)
    alias, module = (importlib.import_module(f"metaaug_tf.{name}") for name in (path, home))
    assert getattr(alias, old) is getattr(module, RENAMED[home][old])
