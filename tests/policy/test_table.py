"""sampler.json and its one reader: what it takes, and that --show_policy and --mode=report say the same of it."""

import json
import re

import numpy as np
import pytest
from report_runs import OPERATIONS, SOLARIZE, make_run, table_with

import metaaug_tf as ma
from metaaug_tf.errors import UserError
from metaaug_tf.policy import folder
from metaaug_tf.policy.folder import read_sampler, write_sampler
from metaaug_tf.policy.show import policy_text
from metaaug_tf.policy.table import SamplerTable, read_table, relative_frequencies
from metaaug_tf.report.page import write_report
from metaaug_tf.report.run import read_run


def test_frequencies_are_relative_to_the_initial_distribution():
    # One operation at factor 0.4: its row and column hold 0.4 / (13 + 0.4) of the draws each, 14 times that.
    drawn = relative_frequencies(table_with({SOLARIZE: 0.4}), table_with({}))
    assert drawn[SOLARIZE] == pytest.approx(14 * 0.4 / 13.4)
    assert drawn[0] == pytest.approx(14 * 1 / 13.4)
    drawn = relative_frequencies(table_with({SOLARIZE: 0.4}), table_with({SOLARIZE: 4}))
    assert drawn[SOLARIZE] == pytest.approx((0.4 / 13.4) / (4 / 17))  # initially 4 / 17, and each other 1 / 17
    assert drawn[0] == pytest.approx((1 / 13.4) / (1 / 17))


def test_ratios_are_to_the_table_of_epoch_0_at_any_scale():
    first, later = np.array([[1.0, 3], [0, 4]]), np.array([[5.0, 5], [5, 5]])
    sampler = SamplerTable(("a", "b"), later, ((0, first), (1, np.ones((2, 2)))))
    np.testing.assert_allclose(sampler.table, [[0.25, 0.25], [0.25, 0.25]])
    np.testing.assert_allclose(sampler.initial, [[1 / 8, 3 / 8], [0, 1 / 2]])
    np.testing.assert_allclose(sampler.pair_ratios(later), [[2, 2 / 3], [1, 1 / 2]])  # 1 for what was never drawn
    np.testing.assert_allclose(sampler.operation_ratios(later), [1 / (1 / 8 + 1 / 2), 1 / (3 / 8 + 1)])
    # Without epoch 0, as where a run's file was written again, the first table kept is not taken for it.
    np.testing.assert_allclose(SamplerTable(("a", "b"), later, ((1, first),)).initial, np.full((2, 2), 0.25))


def test_what_is_written_is_read_and_written_again_as_it_was(tmp_path):
    tables = [table_with({SOLARIZE: 1 - 0.2 * epoch}) for epoch in range(3)]
    for epoch, table in enumerate(tables):
        write_sampler(tmp_path, table, epoch)
    sampler = read_sampler(tmp_path)
    assert sampler.operations == OPERATIONS and [epoch for epoch, _ in sampler.history] == [0, 1, 2]
    np.testing.assert_array_equal(sampler.probabilities, np.round(tables[2], 6))
    for (_, kept), table in zip(sampler.history, tables, strict=True):
        np.testing.assert_array_equal(kept, np.round(table, 6))
    text = (tmp_path / "sampler.json").read_text()
    write_sampler(tmp_path, tables[2], 2)
    assert (tmp_path / "sampler.json").read_text() == text
    write_sampler(tmp_path, tables[1], 1)  # a training that went back
    assert [epoch for epoch, _ in read_sampler(tmp_path).history] == [0, 1]


def test_the_history_of_a_long_training_is_thinned_and_keeps_first_and_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "MOST_TABLES", 4)
    wanted = {3: [0, 1, 2, 3], 4: [0, 2, 4], 5: [0, 2, 4, 5], 7: [0, 2, 4, 6, 7], 8: [0, 4, 8], 19: [0, 8, 16, 19]}
    for epoch in range(20):
        write_sampler(tmp_path, table_with({SOLARIZE: 1 - 0.01 * epoch}), epoch)
        if epoch in wanted:
            history = read_sampler(tmp_path).history
            assert [past for past, _ in history] == wanted[epoch]
            for past, kept in history:
                np.testing.assert_array_equal(kept, np.round(table_with({SOLARIZE: 1 - 0.01 * past}), 6))
    for epoch in (15, 16, 17, 18, 19):  # a training that went back ends with the same
        write_sampler(tmp_path, table_with({SOLARIZE: 1 - 0.01 * epoch}), epoch)
    assert [past for past, _ in read_sampler(tmp_path).history] == wanted[19]


def test_a_damaged_table_is_no_reason_to_end_a_training(tmp_path):
    (tmp_path / "sampler.json").write_text("{")
    with pytest.warns(UserWarning, match="sampler.json can't be read.*written again, without its history"):
        write_sampler(tmp_path, table_with({}), 3)
    assert [epoch for epoch, _ in read_sampler(tmp_path).history] == [3]


WHOLE = {
    "version": 1,
    "operations": list(OPERATIONS),
    "probabilities": table_with({SOLARIZE: 0.4}).tolist(),
    "history": [[0, table_with({}).tolist()], [1, table_with({SOLARIZE: 0.4}).tolist()]],
}


def with_cell(value):
    """The probabilities with one cell replaced."""
    table = [list(row) for row in WHOLE["probabilities"]]
    table[2][3] = value
    return table


GOOD = {
    "as written": {},
    "of another scale": {"probabilities": (100 * table_with({})).tolist()},
    "whole numbers": {"probabilities": np.ones((14, 14), int).tolist()},
    "zeros": {"probabilities": with_cell(0)},
    "no history": {"history": []},
    "history out of order": {"history": WHOLE["history"][::-1]},
    "other operations": {"operations": ["Invert", *OPERATIONS[1:]]},
    "other order": {"operations": list(OPERATIONS[::-1])},
    "names that matplotlib would set as formulas": {"operations": [rf"$\frac{k}$" for k in range(14)]},
    "one operation": {"operations": ["Rotate"], "probabilities": [[1]], "history": [[0, [[2]]], [1, [[1]]]]},
    "two operations": {"operations": ["a", "b"], "probabilities": [[0, 1], [2, 3]], "history": []},
}
BAD = {
    "another version": {"version": 2},
    "no version": {"version": None},
    "no operations": {"operations": [], "probabilities": [], "history": []},
    "a text for operations": {"operations": "abcdefghijklmn"},
    "numbers for operations": {"operations": list(range(14))},
    "an operation twice": {"operations": ["Rotate"] * 14},
    "no table": {"probabilities": None},
    "too small a table": {"probabilities": [[1.0]]},
    "rows of different lengths": {"probabilities": [*WHOLE["probabilities"][:-1], [1.0]]},
    "a table of texts": {"probabilities": [["0.1"] * 14] * 14},
    "a table of truths": {"probabilities": [[True] * 14] * 14},
    "a negative number": {"probabilities": with_cell(-0.001)},
    "a text": {"probabilities": with_cell("0.1")},
    "no number": {"probabilities": with_cell(None)},
    "NaN": {"probabilities": with_cell(float("nan"))},
    "an infinite number": {"probabilities": with_cell(float("inf"))},
    "a number beyond all floats": {"probabilities": with_cell(10**400)},
    "a sum beyond all floats": {"probabilities": [[1e308] * 14] * 14},
    "all zero": {"probabilities": [[0.0] * 14] * 14},
    "no list for history": {"history": None},
    "a history of tables": {"history": [WHOLE["probabilities"]]},
    "half an epoch": {"history": [[0.5, WHOLE["probabilities"]]]},
    "an epoch below 0": {"history": [[-1, WHOLE["probabilities"]]]},
    "an epoch twice": {"history": WHOLE["history"][:1] * 2},
    "a bad table in the history": {"history": [[0, [[0.0] * 14] * 14]]},
}


def said_by(command, folder):
    """What a command says against a folder; None where it does its work."""
    try:
        command(folder)
    except UserError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of which the tests here replace sampler.json; without observations, which would take most of the time."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run")
    (folder / "policy/observations.npz").unlink()
    return folder


@pytest.mark.parametrize("kind", [*GOOD, *BAD])
def test_show_policy_and_report_say_the_same_of_a_table(run, kind):
    path = run / "policy/sampler.json"
    path.write_text(json.dumps({**WHOLE, **(GOOD | BAD)[kind]}))
    shown, reported = said_by(policy_text, path.parent), said_by(write_report, run)
    if kind in GOOD:
        assert shown is None and reported is None
    else:
        assert re.match(f"{re.escape(str(path))} (has version|is not a sampler's table)", shown)
        assert reported.startswith(shown) and "Remove it" in reported


def test_show_policy_and_report_say_the_same_of_what_is_no_table(run):
    path = run / "policy/sampler.json"
    for content in (b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b"5", b"null"):
        path.write_bytes(content)
        shown, reported = said_by(policy_text, path.parent), said_by(write_report, run)
        assert shown.startswith(str(path)) and reported.startswith(shown)


def test_the_history_is_in_the_order_of_epochs(run):
    path = run / "policy/sampler.json"
    path.write_text(json.dumps({**WHOLE, **GOOD["history out of order"]}))
    assert [epoch for epoch, _ in read_table(path.parent).history] == [0, 1]
    assert "after 1 epochs" in policy_text(path.parent)


@pytest.mark.parametrize("kind", ["other operations", "other order", "one operation"])
def test_a_table_of_other_operations_is_shown_but_not_drawn_from(run, kind):
    path = run / "policy/sampler.json"
    path.write_text(json.dumps({**WHOLE, **GOOD[kind]}))
    assert read_run(run).sampler.operations == tuple(GOOD[kind]["operations"])
    assert GOOD[kind]["operations"][0] in policy_text(path.parent)
    with pytest.raises(UserError, match="this package reads tables of the operations"):
        ma.LearnedAugment.load(path.parent)


def test_learned_augment_draws_from_the_probabilities_as_they_are_stored(tmp_path):
    """Scaled they might be rounded to others, and the same seed would draw something else."""
    stored = (0.3 * table_with({SOLARIZE: 0.4})).tolist()
    (tmp_path / "sampler.json").write_text(json.dumps({**WHOLE, "probabilities": stored}))
    assert ma.LearnedAugment.load(tmp_path).get_config()["probabilities"] == stored
    assert read_table(tmp_path).table.sum() == pytest.approx(1)
