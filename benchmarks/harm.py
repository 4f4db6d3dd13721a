"""Does the policy know which operation ruins the label of which image? Trains on glyphs and asks the exports.

    python benchmarks/harm.py --seeds 0 1 2 3 4 --workdir runs/harm [--rows docs/harm.json]

Trains `--dataset=glyphs` once per seed (a run that is there already is not repeated) and asks export/policy about
fresh drawings, each with a pair of operations drawn uniformly, both magnitudes above 5. In each family a least-squares
fit makes the log weight a sum of one effect for each of the two operations. Families differ in level, so an effect is
taken relative to what the same family gets under other operations: under all the others (`others`), or under those that
ruin no label (`harmless`; the first moves with how much a family suffers elsewhere). The contrast of an operation is
its effect in the family whose label it ruins, less that in the family whose label it keeps; below zero means that the
policy knows. The interval is Student's, over seeds.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

LEAST_MAGNITUDE = 5.0
# Operation -> (family whose label it ruins, family whose label it keeps).
RUINS = {
    **dict.fromkeys(("Solarize", "Equalize", "AutoContrast", "Color"), ("hue", "angle")),
    **dict.fromkeys(("Rotate", "ShearX", "ShearY"), ("angle", "hue")),
}
DRAWS_PER_IMAGE = 8
FRESH_PER_CLASS = 100
STUDENT_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def train(seed, workdir, flags):
    folder = workdir / f"seed{seed}"
    command = ["--dataset=glyphs", f"--seed={seed}", f"--workdir={folder}", *flags]
    if not (folder / "summary.json").exists():
        subprocess.run([sys.executable, "-m", "metaaug_tf.main", *command], check=True, cwd=ROOT)
    return folder


def ask(folder, seed):
    """Log weights of the exported policy on fresh drawings; the pairs, and the family of each drawing."""
    import tensorflow as tf

    import metaaug_tf as ma
    from metaaug_tf.data.sources.glyphs import draw_glyphs, glyph_families

    policy = tf.saved_model.load(str(folder / "export" / "policy" / "1")).signatures["serving_default"]
    fresh = draw_glyphs(seed, "test", 34 + FRESH_PER_CLASS)  # the first 34 are the test set
    position = np.arange(len(fresh.labels)) % (34 + FRESH_PER_CLASS)
    images, labels = fresh.images[position >= 34], fresh.labels[position >= 34]
    rng, found = np.random.default_rng(seed), []
    for _ in range(DRAWS_PER_IMAGE):
        pairs = rng.integers(0, 14, (len(images), 2)).astype(np.int32)
        signs = rng.choice([-1, 1], pairs.shape)
        magnitudes = (signs * rng.uniform(LEAST_MAGNITUDE, 10, pairs.shape)).astype(np.float32)
        for start in range(0, len(images), 512):
            part = slice(start, start + 512)
            made = ma.apply_pairs(images[part], pairs[part], magnitudes[part])
            inputs = {"images": made, "pairs": pairs[part], "magnitudes": magnitudes[part]}
            weights = policy(**{name: tf.constant(value) for name, value in inputs.items()})["weights"].numpy()
            found.append((np.log(weights), pairs[part], np.array(glyph_families())[labels[part]]))
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def effects(log_weights, pairs, families):
    """{family: {operation: effect on the log weight}}, up to a level of each family."""
    from metaaug_tf.ops.table import OPERATIONS

    held = np.eye(len(OPERATIONS))[pairs].sum(axis=1)  # how often a pair holds each operation: 0, 1 or 2
    table = {}
    for family in np.unique(families):
        own = families == family
        fitted, *_ = np.linalg.lstsq(held[own], log_weights[own], rcond=None)
        table[str(family)] = dict(zip(OPERATIONS, (float(effect) for effect in fitted), strict=True))
    return table


def relative_effect(table, operation, reference):
    """An operation's effect less the mean effect of its reference: the "others", or the "harmless" ones."""
    chosen = [name for name in table if name != operation and (reference == "others" or name not in RUINS)]
    return table[operation] - np.mean([table[name] for name in chosen])


def interval(values):
    """Mean and half the width of Student's 95 % interval."""
    return np.mean(values), STUDENT_95[len(values)] * np.std(values, ddof=1) / np.sqrt(len(values))


def print_contrasts(rows, reference):
    print(f"\nrelative to the {reference} operations")
    print(f"{'operation':14}{'ruins':>7}{'keeps':>7}{'contrast':>10}{'95 % interval':>18}  by seed")
    for operation, (ruined, kept) in RUINS.items():
        values = [
            relative_effect(row["effects"][ruined], operation, reference)
            - relative_effect(row["effects"][kept], operation, reference)
            for row in rows
        ]
        by_seed = " ".join(f"{value:+.3f}" for value in values)
        mean, half = interval(values) if len(values) > 1 else (values[0], float("nan"))
        print(f"{operation:14}{ruined:>7}{kept:>7}{mean:10.3f}{mean - half:9.3f} to {mean + half:.3f}  {by_seed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--workdir", type=Path, default=Path("runs/harm"))
    parser.add_argument("--rows", type=Path, help="where the figures go, as JSON")
    arguments, flags = parser.parse_known_args()
    rows = []
    for seed in arguments.seeds:
        folder = train(seed, arguments.workdir, flags)
        summary = json.loads((folder / "summary.json").read_text())
        found = effects(*ask(folder, seed))
        rows.append({"seed": seed, "test_accuracy": summary["test_accuracy"], "effects": found})
        print(f"seed {seed}: test accuracy {summary['test_accuracy']:.3f}")
    for reference in ("others", "harmless"):
        print_contrasts(rows, reference)
    if arguments.rows:
        arguments.rows.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
