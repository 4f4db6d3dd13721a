"""What the policy buys where labels are wrong or classes unequal: against controls that see the same labels.

    python benchmarks/imperfect.py --data_dir=DIR --suites "glyphs, 20 % wrong" --seeds 0 1 2

As benchmarks/accuracy.py, which runs each row: a finished run is not repeated, rows are added to --rows as runs
finish, and `--table` prints what there is. The validation images, and they alone, are known to have right labels;
controls named "all images" train on them too.
"""

import argparse
import statistics
import sys
from pathlib import Path

from accuracy import SUITES as CLEAN
from accuracy import add_row, read_rows, run

_CIFAR10 = [
    "--dataset=cifar10",
    "--config.train_examples=4000",
    "--config.validation_examples=500",
    "--config.model=wide_resnet",
    "--config.depth=16",
    "--config.width=1",
    "--config.batch_size=64",
    "--config.validation_batch_size=64",
    "--config.epochs=60",
    "--config.measure_step_ratio=False",
]
SUITES = {
    "glyphs": CLEAN["glyphs"],
    "glyphs, 20 % wrong": [*CLEAN["glyphs"], "--config.label_noise=0.2"],
    "glyphs, 40 % wrong": [*CLEAN["glyphs"], "--config.label_noise=0.4"],
    "omniglot": CLEAN["omniglot"],
    "omniglot, 40 % wrong": [*CLEAN["omniglot"], "--config.label_noise=0.4"],
    "cifar10": _CIFAR10,
    "cifar10, 40 % wrong": [*_CIFAR10, "--config.label_noise=0.4"],
    "cifar10, 40 % flipped": [*_CIFAR10, "--config.label_noise=0.4", "--config.label_noise_kind=flip"],
    "cifar10, tail 100": [*_CIFAR10, "--config.long_tail=100"],
    "cifar10, 5 rare classes, 10 % wrong": [*_CIFAR10, "--config.rare_classes=5", "--config.label_noise=0.1"],
}
_ALL_IMAGES = ["--config.train_on_validation=True"]
_CHEAP = ["--config.meta_gradient=finite_difference", "--config.meta_every=4", *_ALL_IMAGES]
_HALF_IDENTITY = "--config.sampler_identity_odds=13"
_PLAIN = ("none", "trivialaugment", "uniform", "randaugment")
POLICIES = {
    **{name: [f"--policy={name}"] for name in _PLAIN},
    **{f"{name}, all images": [f"--policy={name}", *_ALL_IMAGES] for name in _PLAIN},
    "trivialaugment, all images, label smoothing": [
        "--policy=trivialaugment",
        *_ALL_IMAGES,
        "--config.label_smoothing=0.1",
    ],
    "metaaugment without evidence": ["--policy=metaaugment", _HALF_IDENTITY, "--config.policy_evidence=", *_CHEAP],
    "evidence, no augmentation": ["--policy=reweight", *_CHEAP],
    "evidence, uniform augmentation": ["--policy=metaaugment", "--config.sampler_epsilon=1", *_CHEAP],
    "metaaugment": ["--policy=metaaugment", _HALF_IDENTITY, *_CHEAP],
}


def print_table(rows):
    """Means over the seeds, a table for each suite; times are of the CPU, over `uniform, all images`."""
    for suite in dict.fromkeys(row["suite"] for row in rows):
        here = [row for row in rows if row["suite"] == suite]
        base = [row["training_cpu_seconds"] for row in here if row["name"] == "uniform, all images"]
        columns = (suite, "seeds", "test accuracy", "lowest to highest", "test loss", "time of uniform's")
        print(f"\n| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
        for name in [name for name in POLICIES if any(row["name"] == name for row in here)]:
            own = [row for row in here if row["name"] == name]
            accuracy = [row["test_accuracy"] for row in own]
            loss, seconds = (statistics.mean(row[key] for row in own) for key in ("test_loss", "training_cpu_seconds"))
            ratio = f"{seconds / statistics.mean(base):.2f}" if base else "-"
            spread = f"{min(accuracy):.3f} to {max(accuracy):.3f}"
            print(f"| {name} | {len(own)} | {statistics.mean(accuracy):.4f} | {spread} | {loss:.3f} | {ratio} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data_dir", help="where TFDS keeps its datasets")
    parser.add_argument("--workdir", type=Path, default=Path("runs/imperfect"))
    parser.add_argument("--rows", type=Path, default=Path("docs/imperfect.json"))
    parser.add_argument("--table", action="store_true", help="only print what --rows holds")
    arguments, arguments.flags = parser.parse_known_args()
    if unknown := [flag for flag in arguments.flags if not flag.startswith("--config.")]:
        sys.exit(f"unknown arguments: {' '.join(unknown)}")
    if not arguments.table:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for suite in arguments.suites:
                for name in arguments.policies:
                    row = run(name, suite, POLICIES[name], seed, arguments, SUITES)
                    add_row(arguments.rows, row)
                    print(f"{suite}, {name}, seed {seed}: {row['test_accuracy']:.4f}", flush=True)
    print_table(read_rows(arguments.rows))


if __name__ == "__main__":
    main()
