"""What checkpoints cost: seconds to write and to restore one, its size, and the share of a run's training time.

python benchmarks/checkpointing.py --dataset=glyphs --classes=36 --metrics=runs/demo/metrics.jsonl
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from metaaug_tf.checkpoints.callback import Checkpoints
from metaaug_tf.config import Config, config_for
from metaaug_tf.run_folder import read_rows
from metaaug_tf.training.build import build_model


def seconds_of(call, rounds):
    """Median and largest time of a call."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times), max(times)


def main():
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="glyphs")
    parser.add_argument("--classes", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--metrics", type=Path, help="metrics.jsonl of a run, for the length of an epoch")
    arguments = parser.parse_args()
    config = config_for(arguments.dataset).to_dict()
    size = config["image_size"]
    model = build_model(Config.of(config), arguments.classes, (size, size, config["channels"]), 10)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(model, Path(folder))
        written = seconds_of(checkpoints.save, arguments.rounds)
        restored = seconds_of(checkpoints.restore, arguments.rounds)
        mebibytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 2**20
    print(f"{arguments.dataset}: {model.task.count_params():,} parameters, {mebibytes:.2f} MiB a checkpoint")
    if arguments.metrics:
        epoch = statistics.median(row["seconds"] for row in read_rows(arguments.metrics))
        count = 1 + int(epoch / (60 * config["checkpoint_minutes"]))
        print(f"{count} in an epoch of {epoch:.1f} s: {count * written[0] / epoch:.2%} of training time")
    print(f"writing {written[0]:.3f} s (at most {written[1]:.3f} s), restoring {restored[0]:.3f} s")


if __name__ == "__main__":
    main()
