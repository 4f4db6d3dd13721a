"""What a run's process holds and takes does not grow with its epochs: descriptors, threads, memory, time."""

import json
from pathlib import Path
from statistics import median, quantiles

import pytest
from command_runs import finish
from watched_command import LOG

EPOCHS = 300
PROGRAM = (str(Path(__file__).parents[1] / "support/watched_command.py"),)
# One step an epoch, and a checkpoint. The first 50 epochs are left out: TensorFlow's allocator is still settling.
ONE_STEP = ("--config.batch_size=76", f"--config.epochs={EPOCHS}", "--config.checkpoint_minutes=10")
EARLY, LATE = slice(50, 150), slice(200, 300)


def lower_quartile(values):
    """Other processes can only make a time longer, so that the short ones are the steady ones."""
    return quantiles(values, n=4)[0]


# How each figure is taken of 100 epochs, and what it may be late in the run, given what it was early. Each iterator of
# a dataset leaves some 10 to 30 kB in TensorFlow, about as much as 200 epochs take of the memory allowed here. Time is
# that of the processor, which other processes on the machine move by a tenth.
ALLOWED = {
    "descriptors": (max, lambda early: early),
    "threads": (max, lambda early: early),
    "resident_mib": (median, lambda early: early + 16),
    "cpu_seconds": (lower_quartile, lambda early: 1.25 * early),
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["metaaugment", "none"])
def test_nothing_grows_in_three_hundred_epochs(tmp_path, policy):
    finish(tmp_path, f"--policy={policy}", *ONE_STEP, program=PROGRAM)
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert len(rows) == EPOCHS
    grown = {}
    for name, (taken, allowed) in ALLOWED.items():
        values = [row[name] for row in rows]
        early, late = taken(values[EARLY]), taken(values[LATE])
        by_fifties = [round(median(values[start : start + 50]), 3) for start in range(0, EPOCHS, 50)]
        print(f"{policy}: {name} {early:.3f} -> {late:.3f}; medians of 50 epochs each: {by_fifties}")
        if late > allowed(early):
            grown[name] = early, late
    assert not grown
