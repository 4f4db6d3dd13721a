"""Runs a script that has replicas, as a process of its own, and compares what it wrote."""

import subprocess
import sys
from pathlib import Path

import numpy as np


def run_script(name, folder, *arguments):
    """{case: {number of replicas: {name: array}}} from a script beside this file; 0 replicas is without a strategy."""
    path, script = folder / "results.npz", Path(__file__).with_name(name)
    done = subprocess.run([sys.executable, script, path, *arguments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    results = {}
    with np.load(path) as arrays:
        for key in arrays:
            case, replicas, part = key.split("|")
            results.setdefault(case, {}).setdefault(int(replicas), {})[part] = arrays[key]
    return results


def assert_same(found, wanted):
    """To 1e-6 of the largest value of each array; what is 0 but for rounding may differ by that."""
    assert found.keys() == wanted.keys() and not found["replicas differ"]
    for name in found:
        atol = 1e-6 * np.abs(wanted[name]).max(initial=0) + 1e-15
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=atol, err_msg=name)
