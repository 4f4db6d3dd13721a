"""Peak memory of a meta step relative to the plain step's, each variant in a process of its own.

    python benchmarks/step_memory.py --network=16-2 --steps=300

A process builds the model, compiles and takes 20 steps; then Linux's peak counter (VmHWM) is set back and the steps
are taken. The peak is given with and without what the process held before it built the model (TensorFlow itself), and
the resident memory after 20 and after all steps shows whether it grows.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

WARM_UP = 20


def memory_mib(field):
    """A field of /proc/self/status, VmHWM (peak) or VmRSS (now), in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def measure(network, name, steps):
    from step import VARIANTS, make_step, random_batch

    batch = random_batch(32)
    before = memory_mib("VmRSS")
    step = make_step(*map(int, network.split("-")), VARIANTS[name], batch)
    for _ in range(WARM_UP):
        logs = step()
    float(logs["loss"])
    early = memory_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(steps):
        logs = step()
    float(logs["loss"])
    return {"before": before, "early": early, "late": memory_mib("VmRSS"), "peak": memory_mib("VmHWM")}


def in_own_process(network, name, steps):
    command = [sys.executable, __file__, "--network", network, "--steps", str(steps), "--one", name]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="16-2", help="DEPTH-WIDTH of a WideResNet")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--variants", nargs="+", default=["exact", "finite_difference", "last_block"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.network, arguments.one, arguments.steps)))
        return
    print(f"WRN-{arguments.network}, {arguments.steps} steps: MiB")
    print(f"{'variant':20s}{'peak':>7s}{'ratio':>7s}{'net peak':>10s}{'ratio':>7s}{'after 20':>10s}{'at the end':>12s}")
    for name in ["plain", *arguments.variants]:
        row = in_own_process(arguments.network, name, arguments.steps)
        net = row["peak"] - row["before"]
        if name == "plain":
            plain = row["peak"], net
        ratios = row["peak"] / plain[0], net / plain[1]
        print(
            f"{name:20s}{row['peak']:7.0f}{ratios[0]:7.2f}{net:10.0f}{ratios[1]:7.2f}{row['early']:10.0f}{row['late']:12.0f}"
        )


if __name__ == "__main__":
    main()
