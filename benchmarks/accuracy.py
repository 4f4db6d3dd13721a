"""What accuracy the policies buy, at what cost: every policy in the same code, budget and data, over several seeds.

    python benchmarks/accuracy.py --data_dir=DIR --suites glyphs omniglot --seeds 0 1 2 --rows docs/results.json

Each run is the command in its row, in a folder of its own under --workdir; a finished one is not repeated, so an
interrupted benchmark resumes. The baselines train on the validation images as well, as one would who needs none for a
policy. Rows are added to --rows as runs finish; `--table` prints means, deviations and costs from them, and
`--plot=FILE` draws them.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_SMALL = ["--config.model=conv_net", "--config.width=1", "--config.measure_step_ratio=False"]
SUITES = {
    "glyphs": ["--dataset=glyphs"],
    "omniglot": ["--dataset=omniglot", "--config.split=small1", "--config.epochs=60", *_SMALL],
    "omniglot, 5 a character": [
        "--dataset=omniglot",
        "--config.split=small1",
        "--config.train_per_class=5",
        "--config.validation_per_class=1",
        "--config.epochs=160",
        *_SMALL,
    ],
    "cifar10, 4,000 images": [
        "--dataset=cifar10",
        "--config.train_examples=4000",
        "--config.batch_size=64",
        "--config.validation_batch_size=64",
        "--config.epochs=40",
        *_SMALL,
    ],
}
_HALF_IDENTITY = ["--policy=metaaugment", "--config.sampler_identity_odds=13"]
_ALL_IMAGES = ["--config.train_on_validation=True"]
_CHEAP = ["--config.meta_gradient=finite_difference", "--config.meta_every=8"]
POLICIES = {
    "none": ["--policy=none", *_ALL_IMAGES],
    "randaugment": ["--policy=randaugment", *_ALL_IMAGES],
    "trivialaugment": ["--policy=trivialaugment", *_ALL_IMAGES],
    "uniform": ["--policy=uniform", *_ALL_IMAGES],
    "metaaugment": ["--policy=metaaugment"],
    "metaaugment, cheap": ["--policy=metaaugment", *_CHEAP],
    "metaaugment, half Identity": _HALF_IDENTITY,
    "metaaugment, half Identity, all images": [*_HALF_IDENTITY, *_ALL_IMAGES],
    "metaaugment, cheap, half Identity, all images": [*_HALF_IDENTITY, *_CHEAP, *_ALL_IMAGES],
}
# The same with only as many epochs as make training take the CPU time of `uniform`; needs the rows of both.
EQUAL_TIME = {
    "metaaugment, time of uniform": "metaaugment",
    "metaaugment, cheap, time of uniform": "metaaugment, cheap",
}
# What learns what, and from how much: on glyphs, against `metaaugment` above.
ABLATIONS = {
    "uniform, not on validation images": ["--policy=uniform"],
    "weights without sampler": ["--config.sampler_epsilon=1"],
    "sampler without weights": ["--config.weighting=equal"],
    "weights shuffled": ["--config.weighting=shuffled"],
    "validation 1 %": ["--config.validation_per_class=1"],
    "validation 5 %": ["--config.validation_per_class=5"],
    "validation 10 %": ["--config.validation_per_class=9"],
    "epsilon 0": ["--config.sampler_epsilon=0"],
    "epsilon 0.5": ["--config.sampler_epsilon=0.5"],
    "label noise 20 %": ["--config.label_noise=0.2"],
    "label noise 20 %, uniform": ["--policy=uniform", "--config.label_noise=0.2", *_ALL_IMAGES],
    "half Identity, nothing learned": [
        *POLICIES["metaaugment, half Identity, all images"],
        "--config.weighting=equal",
        "--config.sampler_epsilon=1",
        "--config.policy_warmup_fraction=1",
    ],
    "additive head": ["--config.policy_head=additive"],
}


def flags_of(name, suite, seed, rows):
    """The command-line flags of a run, apart from the suite's and the seed."""
    if name not in EQUAL_TIME:
        return (POLICIES | ABLATIONS)[name]
    of = {row["name"]: row for row in rows if row["suite"] == suite and row["seed"] == seed}
    try:
        full, uniform = of[EQUAL_TIME[name]], of["uniform"]
    except KeyError as missing:
        sys.exit(f"{name!r} needs the row of {missing} first: {suite}, seed {seed}")
    epochs = round(full["epochs"] * uniform["training_cpu_seconds"] / full["training_cpu_seconds"])
    return [*POLICIES[EQUAL_TIME[name]], f"--config.epochs={max(2, epochs)}"]


def run(name, suite, flags, seed, arguments, suites=SUITES):
    """Trains once, or reads what a finished run left; the row."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{suite} {name}")
    folder = arguments.workdir / f"{slug}-{seed}"
    command = [*suites[suite], *flags, f"--seed={seed}", *arguments.flags]
    if not (folder / "summary.json").exists():
        data = [f"--data_dir={arguments.data_dir}"] if arguments.data_dir and suite != "glyphs" else []
        program = [sys.executable, "-m", "metaaug_tf.main", *command, *data, f"--workdir={folder}"]
        with (arguments.workdir / f"{slug}-{seed}.log").open("w") as log:
            subprocess.run(program, check=True, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    summary = json.loads((folder / "summary.json").read_text())
    kept = ("epochs", "test_accuracy", "test_loss", "training_seconds", "training_cpu_seconds")
    command = "python -m metaaug_tf.main " + " ".join(command)
    return {"suite": suite, "name": name, "seed": seed, **{key: summary[key] for key in kept}, "command": command}


def read_rows(path):
    return json.loads(path.read_text()) if path.exists() else []


def add_row(path, row):
    rows = [old for old in read_rows(path) if any(old[key] != row[key] for key in ("suite", "name", "seed"))]
    path.write_text(json.dumps([*rows, row], indent=1) + "\n")


def print_table(rows):
    """Means over seeds: a table of the policies for each suite, and one of all else that was run on it."""
    for suite in dict.fromkeys(row["suite"] for row in rows):
        here = [row for row in rows if row["suite"] == suite]
        compared = [row for row in here if is_policy(row)]
        others = [row for row in here if not is_policy(row)]
        cost = {row["seed"]: row["training_cpu_seconds"] for row in here if row["name"] == "none"}
        for title, part in ((suite, compared), (f"{suite}: controls", others)):
            if part:
                print_means(title, part, cost)


def is_policy(row):
    """Whether the row is of a policy under comparison, not of a control or an ablation."""
    return row["name"] in POLICIES | EQUAL_TIME


def print_means(title, rows, cost):
    columns = (title, "seeds", "epochs", "test accuracy", "deviation", "test loss", "time of none's")
    print(f"\n| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|")
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        accuracy = [row["test_accuracy"] for row in own]
        spread = f"{statistics.stdev(accuracy):.4f}" if len(own) > 1 else "-"
        ratios = [row["training_cpu_seconds"] / cost[row["seed"]] for row in own if row["seed"] in cost]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        mean, loss = (statistics.mean(row[key] for row in own) for key in ("test_accuracy", "test_loss"))
        print(f"| {name} | {len(own)} | {own[0]['epochs']} | {mean:.4f} | {spread} | {loss:.3f} | {ratio} |")


def draw(rows, path):
    """A panel for each suite: every seed's test accuracy as a dot, the mean as a line, policies from the top down."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if is_policy(row)]
    suites, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("suite", "name"))
    size = (4.5 + 2.3 * len(suites), 4)
    figure, panels = pyplot.subplots(1, len(suites), sharey=True, figsize=size, squeeze=False, layout="tight")
    for axes, suite in zip(panels[0], suites, strict=True):
        for place, name in enumerate(names):
            accuracy = [row["test_accuracy"] for row in rows if (row["suite"], row["name"]) == (suite, name)]
            if accuracy:
                axes.plot(accuracy, [place] * len(accuracy), "o", color="#1f6f8b", alpha=0.6)
                axes.plot([statistics.mean(accuracy)] * 2, [place - 0.3, place + 0.3], color="#c0392b", linewidth=2)
        axes.set_title(suite, fontsize=11)
        axes.set_xlabel("test accuracy")
        axes.grid(alpha=0.3)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", nargs="+", default=list(SUITES), choices=list(SUITES))
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=[*POLICIES, *EQUAL_TIME, *ABLATIONS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data_dir", help="where TFDS keeps its datasets")
    parser.add_argument("--workdir", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--rows", type=Path, default=Path("docs/results.json"))
    parser.add_argument("--table", action="store_true", help="only print what --rows holds")
    parser.add_argument("--plot", type=Path, help="draw the rows into this PNG file")
    arguments, arguments.flags = parser.parse_known_args()
    if not arguments.table:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for suite in arguments.suites:
                for name in arguments.policies:
                    flags = flags_of(name, suite, seed, read_rows(arguments.rows))
                    flags = [*flags, "--config.policy_evidence="]  # what the rows were made with
                    row = run(name, suite, flags, seed, arguments)
                    add_row(arguments.rows, row)
                    print(f"{suite}, {name}, seed {seed}: {row['test_accuracy']:.4f}", flush=True)
    print_table(read_rows(arguments.rows))
    if arguments.plot:
        draw(read_rows(arguments.rows), arguments.plot)


if __name__ == "__main__":
    main()
