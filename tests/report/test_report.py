"""The run report: the figures in its sentences, and what it does with bad input."""

import json
import re

import numpy as np
import pytest
from report_runs import ROTATE, SOLARIZE, make_run, observations, table_with, write_sampler

from metaaug_tf.errors import UserError
from metaaug_tf.ops.table import TABLE
from metaaug_tf.report.comparison import agreement_findings, comparison_findings, learned_map
from metaaug_tf.report.findings import findings
from metaaug_tf.report.measures import WITHOUT_MAGNITUDE, groups_of, log_ratio, mean_weights, separated
from metaaug_tf.report.page import write_report
from metaaug_tf.report.run import Observations, read_run

# The figures behind the sentences


def test_log_ratio_by_hand():
    inside, outside = np.array([1.0, 3.0] * 10), np.array([4.0] * 20)
    # mean 2 against 4; variance of [1, 3] * 10 is 20 / 19, so the squared relative error is 20 / 19 / 20 / 4
    difference, error = log_ratio(inside, outside)
    assert difference == pytest.approx(np.log(0.5))
    assert error == pytest.approx(np.sqrt(1 / 19 / 4))
    assert np.isnan(log_ratio(inside[:19], outside)).all()


def test_separated_gets_stricter_with_the_number_of_looks():
    assert separated(0.25, 0.1, looks=1)
    assert not separated(0.25, 0.1, looks=42)  # 3.2 standard errors are asked for
    assert not separated(0.04, 0.0, looks=1)  # sure, but under five per cent
    assert not separated(float("nan"), float("nan"), looks=1)


def test_mean_weights_per_operation_and_family(tmp_path):
    arrays = {
        "images": np.zeros((4, 2, 2, 3), np.uint8),
        "pairs": np.array([[0, 1], [1, 1], [0, 2], [2, 1]], np.int32),
        "magnitudes": np.zeros((4, 2), np.float32),
        "weights": np.array([0.2, 0.4, 0.6, 0.8], np.float32),
        "labels": np.array([0, 0, 1, 3], np.int32),  # families shape, shape, hue, shape
    }
    run = read_run(make_run(tmp_path / "run", **arrays))
    means, counts = mean_weights(groups_of(run), 3)
    assert isinstance(run.observations, Observations)
    np.testing.assert_array_equal(counts[:, :2], [[1, 1], [3, 0], [1, 1]])
    np.testing.assert_allclose(means[:, 0], [0.2, (0.2 + 0.4 + 0.8) / 3, 0.8], rtol=1e-6)
    assert np.isnan(means[1, 1])


# The sentences


def test_findings_tell_ratio_and_family(tmp_path):
    said = findings(read_run(make_run(tmp_path / "run")))
    seen = observations()

    def ratio(operation: int, family: int) -> float:
        uses, member = (seen["pairs"] == operation).any(axis=1), seen["labels"] % 3 == family
        return seen["weights"][member & uses].mean() / seen["weights"][member & ~uses].mean()

    harm, spin = ratio(SOLARIZE, 1), ratio(ROTATE, 2)
    drawn = 14 * 0.4 / (12 + 0.4 + 0.6)
    assert harm == pytest.approx(0.3, abs=0.02)
    assert said[0] == "The classifier gets 91.2 % of the test images right after 20 epochs (validation: 90.5 %)."
    assert said[1:5] == [
        f"Solarize is drawn {drawn:.2f} times as often as at the start; it hurts the hue classes most.",
        "Rotate is drawn 0.65 times as often as at the start; it hurts the angle classes most.",
        f"Hardest on the angle classes: Rotate ({spin:.2f} times the weight of their other images).",
        f"Hardest on the hue classes: Solarize ({harm:.2f} times the weight of their other images).",
    ]
    assert "420 images per second, 3 % of the time waiting for input; a step takes 2.7 times" in said[-1]


def test_accuracy_on_images_that_were_trained_on_is_called_so(tmp_path):
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"train_on_validation": True}))
    assert "(validation, trained on as well: 90.5 %)" in findings(read_run(run))[0]


def test_findings_claim_nothing_from_noise(tmp_path):
    run = make_run(tmp_path / "run", weights=observations(harm=1.0)["weights"])
    noise = np.random.default_rng(3).uniform(0.9, 1.1, (14, 14))
    write_sampler(run, [(20, noise / noise.sum())])
    said = " ".join(findings(read_run(run)))
    assert "The sampler separates no operation from the others" in said
    assert "No operation sets one of the families clear of all others" in said
    assert "most" not in said and "falls" not in said and "lowest mean weight" not in said


def test_findings_name_operations_whose_weight_falls_with_the_magnitude(tmp_path):
    seen = observations(harm=1.0)
    strong = (seen["pairs"] == ROTATE) & (np.abs(seen["magnitudes"]) > 5)
    weights = np.where(strong.any(axis=1), seen["weights"] / 2, seen["weights"])
    said = " ".join(findings(read_run(make_run(tmp_path / "run", weights=weights))))
    found = re.search(r"falls for Rotate \((\S+) up to magnitude 5, (\S+) above\)", said)
    assert [float(number) for number in found.groups()] == pytest.approx([0.5, 0.25], abs=0.02)


def test_findings_of_flat_weights_and_levels(tmp_path):
    flat = read_run(make_run(tmp_path / "flat", weights=np.full(2000, 0.98, np.float32)))
    said = " ".join(findings(flat))
    assert "gives every image the same weight" in said and "nearly flat" in said
    broken = observations()["weights"]
    broken[:7] = np.nan
    run = read_run(make_run(tmp_path / "nan", weights=broken))
    assert "7 observed images have no finite weight" in " ".join(findings(run))


def test_comparison_takes_repetitions_together(tmp_path):
    tests = {
        "a0": ("metaaugment", 0.91),
        "a1": ("metaaugment", 0.93),
        "u0": ("uniform", 0.88),
        "u1": ("uniform", 0.90),
    }
    made = [make_run(tmp_path / n, p, t, seed=i) for i, (n, (p, t)) in enumerate(tests.items())]
    runs = [read_run(folder) for folder in made]
    said = comparison_findings(runs)
    assert "metaaugment (a0 and a1) 92.0 % on average, 91.0 % to 93.0 %" in said[0]
    assert said[1].startswith("Every run of metaaugment")
    assert "one run of a kind" in comparison_findings(runs[1:3])[-1]
    runs[3].summary["test_accuracy"] = 0.92
    assert "do not show which is better" in comparison_findings(runs)[-1]
    runs[3].summary["dataset"] = "omniglot"
    assert comparison_findings(runs)[0] == "On other data and so not compared here: u1."


def test_what_runs_learned_alike_and_on_what_they_disagree(tmp_path):
    tables = {"a": {SOLARIZE: 0.4, ROTATE: 2.0}, "b": {SOLARIZE: 0.6, ROTATE: 0.5}, "c": {SOLARIZE: 0.5, ROTATE: 2.0}}
    runs = []
    for name, factors in tables.items():
        folder = make_run(tmp_path / name)
        write_sampler(folder, [(20, table_with(factors))])
        runs.append(read_run(folder))
    assert agreement_findings(runs) == [
        "All 3 runs that learned a policy on these data draw Solarize less often than the other operations.",
        "They disagree on Rotate.",
    ]
    assert agreement_findings([runs[0], runs[2]]) == [
        "Both runs that learned a policy on these data draw Solarize less often than the other operations, and Rotate "
        "more often."
    ]
    assert f"b: least Rotate {14 * 0.5 / (12 + 0.6 + 0.5):.2f}" in learned_map(runs).alt
    uniform = read_run(make_run(tmp_path / "u", policy="uniform"))
    assert learned_map([runs[0], uniform]) is None and agreement_findings([runs[0], uniform]) == []
    assert "on average, 91.2 % to 91.2 %" in comparison_findings(runs)[0]


def test_a_resumed_epoch_counts_once(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 2}\n{"epoch": 0, "loss": 3}\n{"epoch": 1, "loss": 1}\n')
    curves = read_run(run).curves
    np.testing.assert_array_equal(curves["epoch"], [1, 2])
    np.testing.assert_array_equal(curves["loss"], [3, 1])


# Bad input

DAMAGES = {
    "config.json": b"[1]",
    "metrics.jsonl": b'{"epoch": 0}\n{"epo\n{"epoch": 2}\n',
    "summary.json": b"\xff\xfe",
    "classes.json": b'{"class_names": ["a", "b"], "families": ["x"]}',
    "policy/sampler.json": b'{"version": 1, "operations": ["a"], "probabilities": [[0.0]]}',
    "policy/observations.npz": b"PK\x03\x04 cut off",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named(tmp_path, name):
    run = make_run(tmp_path / "run")
    (run / name).write_bytes(DAMAGES[name])
    with pytest.raises(UserError, match=f"{re.escape(str(run / name))}.*Remove it to get a report without it"):
        write_report(run)


def test_a_row_that_was_cut_off_is_left_out(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 20, "lo')
    np.testing.assert_array_equal(read_run(run).curves["epoch"], np.arange(1, 21))


def test_figures_that_are_no_numbers_are_left_out(tmp_path):
    run = make_run(tmp_path / "run")
    odd = {"epoch": 1, "loss": 10**400, "accuracy": "high", "val_loss": True, "val_accuracy": None}
    (run / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "loss": 2}) + "\n" + json.dumps(odd) + "\n")
    (run / "summary.json").write_text(json.dumps({"test_accuracy": 10**400}))
    found = read_run(run)
    np.testing.assert_array_equal(found.curves["loss"], [2, np.nan])
    assert all(np.isnan(found.curves[key]).all() for key in ("accuracy", "val_loss", "val_accuracy"))
    assert np.isnan(found.figure("test_accuracy"))
    write_report(run)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pairs": np.full((2000, 2), 14, np.int32)},
        {"labels": np.full(2000, 12, np.int32)},
        {"labels": np.zeros(3, np.int32)},
        {"images": np.zeros((2000, 4, 4, 3), np.float32)},
        {"weights": np.array([None] * 2000)},
    ],
)
def test_observations_that_do_not_fit_are_refused(tmp_path, wrong):
    run = make_run(tmp_path / "run", **wrong)
    with pytest.raises(UserError, match=r"observations\.npz is damaged"):
        write_report(run)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="not a run folder"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="elsewhere is not a run folder"):
        write_report(make_run(tmp_path / "run"), [tmp_path / "elsewhere"])


def test_operations_without_a_magnitude_are_those_of_the_table():
    """The report restates them, as it imports no TensorFlow."""
    assert {row.name for row in TABLE if not row.uses_magnitude} == WITHOUT_MAGNITUDE
