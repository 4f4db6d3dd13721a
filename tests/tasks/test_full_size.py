"""The papers' large networks take a meta step at their full size; docs/networks.md has time and memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "full_size_step.py"
MEMORY_MIB = 12 * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "batch", "parameters"),
    [("wrn_28_10", 16, 36.5), ("shake_shake_26_2x96d", 16, 26.2), ("pyramidnet_272_a200", 8, 26.0)],
)
def test_a_meta_step_on_cifar_images(network, batch, parameters):
    """In a process of its own, whose memory is given back; the batch is as large as 12 GiB allow with ease."""
    command = [sys.executable, SCRIPT, f"--network={network}", f"--batch={batch}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # `pytest -s` shows the figures
    found = json.loads(done.stdout)
    assert round(found["parameters"] / 1e6, 1) == parameters
    assert all(np.isfinite(value) for value in found["first_logs"].values())
    assert found["first_logs"]["policy_gradient_norm"] > 0
    assert found["least_change"]["task"] > 0 and found["least_change"]["policy"] > 0
    assert found["peak_mib"] < MEMORY_MIB
