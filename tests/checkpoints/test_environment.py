"""A checkpoint knows where it was written; resuming elsewhere says so, since the last digits may differ."""

import json
import warnings

import pytest
from resumable_runs import Killed, train

from metaaug_tf.checkpoints import callback
from metaaug_tf.checkpoints.environment import environment, environment_difference


def test_what_differs_is_named():
    before = {"cores": 1, "keras": "3.14", "Python": "3.11.7"}
    assert environment_difference(before, {**before, "cores": 2, "keras": "3.15"}) == "cores 1 -> 2, keras 3.14 -> 3.15"
    assert environment_difference(before, before) == "" and environment_difference(None, before) == ""
    assert environment_difference(["cores"], before) == "", "a checkpoint's file may hold anything"


@pytest.mark.long
def test_resuming_on_another_number_of_cores_is_reported(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        train(tmp_path, kill_after=2)
    (newest, *_) = sorted((tmp_path / "checkpoints").iterdir(), reverse=True)
    found = json.loads((newest / "checkpoint.json").read_text(encoding="utf-8"))["environment"]
    assert found == environment()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*another environment.*")
        with pytest.raises(Killed):
            train(tmp_path, kill_after=1)
    monkeypatch.setattr(callback, "environment", lambda: {**found, "cores": found["cores"] + 5})
    with pytest.warns(UserWarning, match=rf"cores {found['cores']} -> {found['cores'] + 5}\).*last digits"):
        train(tmp_path)
