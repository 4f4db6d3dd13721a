"""Several replicas compute what one does: policy gradient, task update, sampler table and loss of the global batch.

The replicas are logical CPU devices of a process of their own (tests/support/replica_runs.py); everything is float64.
"""

import numpy as np
import pytest
import tensorflow as tf
from replica_results import assert_same, run_script

from metaaug_tf.meta import replicas as replica_arithmetic

METHODS = ("exact", "finite_difference", "last_block")
# Cases of replica_runs.py in which replicas compute exactly what one device does.
SAME = (
    "uneven",
    "uneven finite_difference",
    "synchronised",
    "clipped",
    "not normalised",
    "equal",
    "shuffled",
    "no policy",
    "sample weights",
)


@pytest.fixture(scope="module")
def methods(tmp_path_factory):
    return run_script("replica_runs.py", tmp_path_factory.mktemp("methods"), "methods")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    names = ",".join([*SAME, "batch_norm", "dropout"])
    return run_script("replica_runs.py", tmp_path_factory.mktemp("cases"), names)


def moved(results, group):
    """Whether the step changed anything of a group of variables."""
    names = [name for name in results if name.startswith(f"{group}/") and f"{name} before" in results]
    return any((results[name] != results[f"{name} before"]).any() for name in names)


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_policy_gradient_task_update_sampler_and_loss_are_those_of_one_device(methods, method, replicas):
    wanted = methods[method][0]
    assert all(moved(wanted, group) for group in ("task", "policy", "sampler"))
    assert_same(methods[method][replicas], wanted)


def test_the_reported_loss_is_the_global_one(methods):
    for replicas, results in methods["exact"].items():
        assert results["loss of the step"] == pytest.approx(float(methods["exact"][0]["logs/loss"])), replicas


@pytest.mark.long
@pytest.mark.parametrize("case", SAME)
def test_other_settings_and_uneven_batches(cases, case):
    wanted = cases[case][0]
    assert moved(wanted, "task") and (case == "no policy" or moved(wanted, "policy"))
    for replicas, results in cases[case].items():
        if replicas:
            assert_same(results, wanted)


@pytest.mark.long
def test_clipping_acts_on_the_global_gradient(cases):
    """The unclipped step is much longer, so the results compared above are clipped ones."""
    results = cases["clipped"][0]
    kernels = [name for name in results if name.startswith("task/") and not name.endswith("before")]
    step = np.sqrt(sum(np.sum((results[name] * 1.0 - results[f"{name} before"]) ** 2) for name in kernels))
    decay = 0.1 * 0.1 * np.sqrt(sum(np.sum(results[f"{name} before"] ** 2) for name in kernels))
    assert step < decay + 0.1 * 0.01 * 1.001


@pytest.mark.long
@pytest.mark.parametrize("replicas", [2, 4])
def test_batch_norm_by_replica_keeps_equal_finite_statistics_whose_mean_is_that_of_the_global_batch(cases, replicas):
    """5 images on 4 replicas are 2, 2, 1 and 0; the empty shard must leave no NaN."""
    one, several = cases["batch_norm"][0], cases["batch_norm"][replicas]
    assert not several["replicas differ"]
    assert all(np.isfinite(value).all() for value in several.values())
    (first_mean,) = [name for name in one if name == "task/4"]  # before it: kernel, bias, gamma, beta
    assert (one[first_mean] != one[f"{first_mean} before"]).any()
    np.testing.assert_allclose(several[first_mean], one[first_mean], rtol=1e-6)
    assert abs(several["policy_gradient/0"] - one["policy_gradient/0"]).max() > 0  # statistics by replica do differ


@pytest.mark.long
def test_dropout_draws_another_mask_on_each_replica_and_keeps_one_seed(cases):
    one, two = cases["dropout"][0], cases["dropout"][2]
    assert not two["replicas differ"]
    seeds = [name for name in one if name.startswith("task/") and one[name].dtype == np.int64 and "before" not in name]
    assert len(seeds) == 2
    for name in seeds:
        np.testing.assert_array_equal(two[name], one[name])
    assert two["loss of the step"] != pytest.approx(float(one["loss of the step"]), rel=1e-3)


def test_each_replica_has_a_seed_of_its_own_that_leads_back_to_the_common_one(monkeypatch):
    own, common = [], np.array([12, 34])
    monkeypatch.setattr(replica_arithmetic, "count", lambda: 3)
    for index in range(3):
        monkeypatch.setattr(replica_arithmetic, "_index", lambda index=index: tf.constant(index))
        own.append(replica_arithmetic.own_seed(tf.constant(common, tf.int64)))
        np.testing.assert_array_equal(replica_arithmetic.own_seed(own[-1], sign=-1), common)
    assert len({tuple(seed.numpy()) for seed in own}) == 3
