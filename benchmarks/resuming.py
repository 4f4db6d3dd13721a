"""What going on costs on top of the start-up that every command has: seconds by the clock, and of CPU time.

A run is killed in its first epoch, right after a checkpoint, and started again. Both lives are timed from the command
to the first step, and to the first step of the second epoch: by then the run that goes on has built its input twice,
for the rest of the epoch and for whole ones. Where other work is done on the machine, only the CPU time tells; a free
machine needs no longer than that by the clock.

python benchmarks/resuming.py --rounds=3
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from metaaug_tf.checkpoints.folder import CheckpointFolder, Position

FIRST_STEP, SECOND_EPOCH = Position(0, 1), Position(1, 1)


def life(workdir: Path, first: Position, last: Position, arguments) -> tuple[np.ndarray, Position]:
    """Starts the run and kills it; returns [to first, to last] x [seconds, CPU seconds], and where it was killed."""
    command = [sys.executable, "-m", "metaaug_tf.main", f"--workdir={workdir}", "--config.checkpoint_minutes=0"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times = np.array([seconds_until(process, workdir, position, started) for position in (first, last)])
    process.kill()
    process.wait()
    return times, CheckpointFolder(workdir / "checkpoints").newest_whole().position


def seconds_until(process, workdir: Path, position: Position, started: float) -> tuple[float, float]:
    """Waits for the checkpoint of that place or a later one; seconds since `started`, and of CPU time."""
    folder = CheckpointFolder(workdir / "checkpoints")
    while max(folder.names(), default="") < position.folder_name:
        if process.poll() is not None:
            raise SystemExit(f"the command ended with {process.returncode} before {position}")
        time.sleep(0.005)
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return time.perf_counter() - started, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main():
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments, others = parser.parse_known_args()
    extra = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            straight, _ = life(Path(scratch) / "straight", FIRST_STEP, SECOND_EPOCH, others)
            _, killed = life(Path(scratch) / "killed", FIRST_STEP, FIRST_STEP, others)
            resumed, _ = life(Path(scratch) / "killed", Position(0, killed.step + 1), SECOND_EPOCH, others)
        extra.append(resumed - straight)
        for name, new, again in zip(("the first step", "the second epoch"), straight, resumed, strict=True):
            print("to {}: new run {:.1f} s ({:.1f} s of CPU), going on {:.1f} s ({:.1f} s)".format(name, *new, *again))
    for name, place in (("the first step", 0), ("the second epoch", 1)):
        clock, cpu = (statistics.median(float(times[place, kind]) for times in extra) for kind in (0, 1))
        print(f"on top of start-up, to {name}: {clock:+.1f} s, {cpu:+.1f} s of CPU (median of {arguments.rounds})")


if __name__ == "__main__":
    main()
