"""The printed policy: ranks and ratios of a table whose answers are known."""

import numpy as np

from metaaug_tf.ops import OPERATIONS
from metaaug_tf.policy.folder import write_policy, write_sampler
from metaaug_tf.policy.sampler import initial_probabilities
from metaaug_tf.policy.show import policy_text

ROTATE, SOLARIZE = OPERATIONS.index("Rotate"), OPERATIONS.index("Solarize")


def test_operations_pairs_and_table_are_printed_relative_to_the_start(tmp_path):
    table = np.full((14, 14), 1 / 196)
    table[ROTATE] *= 2
    table[ROTATE, SOLARIZE] *= 3
    write_sampler(tmp_path, table / table.sum(), 4)
    write_policy(tmp_path, 255, None)
    text = policy_text(tmp_path)
    lines = text.splitlines()
    assert "after 4 epochs, no policy network, fill 255" in lines[0]
    # Sum of the table before it was normalised: 13 rows of 14, one of 13 * 2 + 6, in units of 1 / 196.
    unit = 196 / (13 * 14 + 13 * 2 + 6)
    assert lines[4].split() == [
        "Rotate",
        f"{unit * (32 / 14 + 15 / 14) / 2:.2f}",
        f"{unit * 32 / 14:.2f}",
        f"{unit * 15 / 14:.2f}",
    ]
    assert lines[5].startswith("Solarize")
    assert f"{unit * 6:7.2f}  Rotate then Solarize" == lines[lines.index("the 10 pairs with the highest figures") + 1]
    (row,) = [line for line in lines if line.startswith(f"{ROTATE:2} Rotate")]
    values = row.split()[2:]
    assert values[SOLARIZE] == f"{unit * 6:.1f}" and values[0] == f"{unit * 2:.1f}" and len(values) == 14
    assert max(map(len, lines[1:])) <= 120


def test_a_start_that_is_not_uniform_counts_as_one(tmp_path):
    start = initial_probabilities(identity_odds=13)
    write_sampler(tmp_path, start, 0)
    table = start.copy()
    table[ROTATE] /= 2
    write_sampler(tmp_path, table / table.sum(), 1)
    scale = 1 / (1 - 1 / 26 / 2)  # Rotate is first in 1 of 26 draws
    lines = {line.split()[0]: line.split()[1:] for line in policy_text(tmp_path).splitlines() if line.strip()}
    assert lines["Identity"] == [f"{(scale + 1) / 2:.2f}", f"{scale:.2f}", "1.00"]
    assert lines["Rotate"][1] == f"{scale / 2:.2f}" and lines["Color"][1] == f"{scale:.2f}"
