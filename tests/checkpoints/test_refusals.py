"""Data, weights and settings that can not be: refused early, with nothing saved or overwritten."""

import helpers
import numpy as np
import pytest
import resumable_runs as resume

import metaaug_tf as ma
from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder, Position
from metaaug_tf.checkpoints.model_state import capture_variables
from metaaug_tf.checkpoints.resume import read_fork
from metaaug_tf.config import check_config, config_digest, config_for
from metaaug_tf.files import write_json
from metaaug_tf.run_folder import RunFolder, locked

CONFIG = {"dataset": "glyphs", "epochs": 3, "checkpoint_minutes": 10.0}


def examples(images, labels):
    return ma.Examples(np.asarray(images), np.asarray(labels))


GOOD = helpers.random_examples(8, 0)
BAD_DATA = [
    (examples(np.full((8, 8, 8, 3), np.nan, np.float32), GOOD.labels), "images must be uint8.*float32"),
    (examples(GOOD.images, np.array([0, 1, 2, 3, 0, 1, -1, 0], np.int32)), "got -1"),
    (examples(GOOD.images, GOOD.labels.astype(np.float32)), "labels must be integers.*float32"),
    (examples(GOOD.images[0], GOOD.labels), r"\[N, H, W, C\]"),
    (examples(GOOD.images[:5], GOOD.labels), "5 images.*\\[8\\]"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_DATA, ids=[message[:12] for _, message in BAD_DATA])
def test_images_and_labels_that_can_not_be_are_refused(bad, message):
    for sets in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(ma.UserError, match=message):
            ma.training_dataset(*sets, ma.PairSampler(), batch_size=4)


def test_labels_beyond_the_classes_are_refused():
    bad = ma.Examples(GOOD.images, np.full_like(GOOD.labels, 4))
    for sets in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(ma.UserError, match="from 0 to 3, got 4"):
            ma.training_dataset(*sets, ma.PairSampler(), batch_size=4, classes=4)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = resume.make_model()
    checkpoints = ma.Checkpoints(model, tmp_path)
    checkpoints.save()
    model.trainable_variables[0].assign(model.trainable_variables[0] * np.nan)
    with pytest.raises(ma.UserError, match="weights are not finite"):
        checkpoints.save()
    assert np.isfinite(CheckpointFolder(tmp_path).newest_whole().tensors["model/00000"]).all()


def test_settings_of_checkpoints_may_change_and_others_not(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.opened_for(CONFIG):
        pass
    run.check_for({**CONFIG, "checkpoint_minutes": 1.0, "checkpoints_kept": 1})
    with pytest.raises(ma.UserError, match="epochs: 3 -> 4(.|\n)*--fork=NEWDIR"):
        run.check_for({**CONFIG, "epochs": 4})


def test_settings_of_checkpoints_have_ranges():
    config = config_for("glyphs").to_dict()
    check_config({**config, "checkpoint_minutes": 0.0, "checkpoints_kept": 1})
    with pytest.raises(ma.UserError, match="checkpoint_minutes .* got -1(.|\n)*checkpoints_kept .* got 0"):
        check_config({**config, "checkpoint_minutes": -1, "checkpoints_kept": 0})


def test_a_fork_starts_the_epoch_again_with_the_weights_as_they_are(tmp_path):
    source = RunFolder(tmp_path / "run")
    write_json(source.config, CONFIG)
    with pytest.raises(resume.Killed):
        resume.train(source.path, kill_after=resume.STEPS + 2)
    newest = CheckpointFolder(source.checkpoints).newest_whole()
    model = resume.make_model(optimizer="sgd")
    with pytest.raises(ma.UserError, match="another model or optimizer"):
        read_fork(model, source, "new")
    model = resume.make_model()
    forked = read_fork(model, source, config_digest({**CONFIG, "epochs": 4}))
    assert newest.position == Position(1, 2) and forked.position == Position(1, 0)
    CheckpointFolder(tmp_path / "new").write(forked)
    with pytest.raises(ma.UserError, match="other settings"):
        ma.Checkpoints(model, tmp_path / "new", digest=config_digest(CONFIG)).restore()
    checkpoints = ma.Checkpoints(model, tmp_path / "new", digest=config_digest({**CONFIG, "epochs": 4}))
    assert checkpoints.restore() and checkpoints.position == Position(1, 0)
    for name, array in resume.results(source.path, model)[0].items():
        np.testing.assert_array_equal(array, newest.tensors[name])


def test_a_fork_trains_on_after_a_run_that_a_callback_ended(tmp_path):
    source = RunFolder(tmp_path / "run")
    write_json(source.config, CONFIG)
    model = resume.traced_model()[0]
    ended = Checkpoint(Position(2), capture_variables(model), {"digest": "old", "stopped_early": True, "callbacks": []})
    CheckpointFolder(source.checkpoints).write(ended)
    forked = read_fork(model, source, "new")
    assert forked.metadata == {**ended.metadata, "digest": "new", "stopped_early": False, "epoch": 2, "step": 0}


def test_a_lock_left_behind_is_no_run(tmp_path):
    RunFolder(tmp_path).lock.touch()
    with locked(tmp_path):
        RunFolder(tmp_path).check_for(CONFIG)
