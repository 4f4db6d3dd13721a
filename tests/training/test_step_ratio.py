"""How many plain steps a run's step takes: measured with a clock that the steps themselves move."""

from pathlib import Path

import pytest

import metaaug_tf as ma
from metaaug_tf.config import Config, config_for
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training import step_ratio
from metaaug_tf.training.prepare import prepare
from metaaug_tf.workers.workers import Workers

SMALL = {"families": "angle", "train_per_class": 4, "validation_per_class": 2, "test_per_class": 1, "batch_size": 8}
SMALL |= {"validation_batch_size": 8, "warmup_epochs": 0, "epochs": 2, "jit_compile": "False"}


class Clock:
    """Seconds that go by only while a step is taken."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(("own", "plain"), [(3.0, 1.0), pytest.param(0.5, 2.0, marks=pytest.mark.long)])
def test_the_ratio_is_the_runs_step_over_the_plain_one(own, plain, monkeypatch):
    job = prepare(Config.of({**config_for("glyphs").to_dict(), **SMALL}), None, RunFolder(Path("unused")), Workers())
    clock, built, sizes = Clock(), [], []
    monkeypatch.setattr(step_ratio, "time", clock)

    def taking(seconds):
        def step(batches):
            inputs, labels = next(batches)
            sizes.append((len(inputs["images"]), len(labels)))
            clock.now += seconds
            return {"loss": 1.0}

        return lambda: step

    def build_plain(config, classes, input_shape, steps_per_epoch):
        model = build_model(config, classes, input_shape, steps_per_epoch)
        monkeypatch.setattr(model, "make_train_function", taking(plain))
        built.append(model)
        return model

    build_model = step_ratio.build_model
    monkeypatch.setattr(step_ratio, "build_model", build_plain)
    monkeypatch.setattr(job.model, "make_train_function", taking(own))
    assert step_ratio.measure_step_ratio(job) == pytest.approx(own / plain)
    assert built[0].policy_network is None and isinstance(job.model.policy_network, ma.PolicyNetwork)
    assert built[0].task.output_shape == job.model.task.output_shape and set(sizes) == {(8, 8)}
