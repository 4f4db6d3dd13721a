"""Synthetic run folders with known numbers, for the tests of the report."""

import json
from pathlib import Path

import numpy as np

OPERATIONS = (
    *("AutoContrast", "Equalize", "Rotate", "Posterize", "Solarize", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY", "Identity"),
)
FAMILIES = ("shape", "hue", "angle")
ROTATE, SOLARIZE = 2, 4


def table_with(factors: dict[int, float]) -> np.ndarray:
    """A 14 x 14 table: a cell is the product of the factors of its two operations, else 1, scaled."""
    weights = np.ones(14)
    for operation, factor in factors.items():
        weights[operation] = factor
    table = np.outer(weights, weights)
    return table / table.sum()


def observations(count: int = 2000, harm: float = 0.3) -> dict[str, np.ndarray]:
    """Weights of 0.4 to 0.6; Solarize multiplies those of hue images by `harm`, Rotate angle images."""
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 14, (count, 2), dtype=np.int32)
    magnitudes = rng.uniform(0, 10, (count, 2)).astype(np.float32)
    magnitudes[pairs == ROTATE] *= rng.choice([-1, 1], (pairs == ROTATE).sum())
    labels = rng.integers(0, 12, count, dtype=np.int32)
    weights = rng.uniform(0.4, 0.6, count)
    for operation, family in ((SOLARIZE, 1), (ROTATE, 2)):
        weights[(pairs == operation).any(axis=1) & (labels % 3 == family)] *= harm
    images = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return {
        "images": images,
        "pairs": pairs,
        "magnitudes": magnitudes,
        "weights": weights.astype(np.float32),
        "labels": labels,
    }


def metrics(epochs: int, learns: bool) -> list[dict]:
    rows = []
    for e in range(epochs):
        row = {"epoch": e, "loss": 2.3 * 0.9**e, "accuracy": 1 - 0.9**e, "val_loss": 2.4 * 0.9**e}
        row |= {"val_accuracy": 0.93 - 0.8 * 0.88**e, "learning_rate": 0.1, "seconds": 9.5}
        row |= {"images_per_second": 420.0, "input_bound_fraction": 0.03}
        if learns:
            row |= {"meta_loss": 2.3 * 0.9**e, "weight_mean": 0.5, "weight_min": 0.4 - 0.01 * e}
            row |= {"weight_max": 0.6 + 0.005 * e, "effective_sample_size": 1 - e / 100}
            row |= {"policy_gradient_norm": 0.01 * 0.95**e}
        rows.append(row)
    return rows


def make_run(folder: Path, policy: str = "metaaugment", test: float = 0.912, seed: int = 0, **seen) -> Path:
    """A synthetic run folder with known numbers; `seen` replaces arrays of the observations."""
    (folder / "policy").mkdir(parents=True)
    learns, epochs = policy == "metaaugment", 20
    known = {"dataset": "glyphs", "policy": policy, "seed": seed, "epochs": epochs}
    figures = {"test_accuracy": test, "validation_accuracy": 0.905, "images_per_second": 420.4}
    figures |= {"input_bound_fraction": 0.031, "step_ratio": 2.7 if learns else None, "seconds": 285.2}
    figures["command"] = f"python -m metaaug_tf.main --dataset=glyphs --policy={policy} --workdir=runs/demo"
    rows = "".join(json.dumps(row) + "\n" for row in metrics(epochs, learns))
    names = [f"{FAMILIES[k % 3]}-{k // 3}" for k in range(12)]
    (folder / "config.json").write_text(json.dumps(known | {"workdir": str(folder)}))
    (folder / "metrics.jsonl").write_text(rows)
    (folder / "summary.json").write_text(json.dumps(known | figures))
    write_classes(folder, names, [FAMILIES[k % 3] for k in range(12)])
    if learns:
        steps = [(e, 1 - 0.6 * e / epochs, 1 - 0.4 * e / epochs) for e in range(epochs + 1)]
        write_sampler(folder, [(e, table_with({SOLARIZE: low, ROTATE: mid})) for e, low, mid in steps])
    arrays = observations() | ({} if learns else {"weights": np.ones(2000, np.float32)}) | seen
    np.savez(folder / "policy" / "observations.npz", **arrays)
    return folder


def write_classes(folder: Path, names: list[str], families: list[str] | None) -> None:
    (folder / "classes.json").write_text(json.dumps({"class_names": names, "families": families}))


def write_sampler(folder: Path, history: list[tuple[int, np.ndarray]]) -> None:
    tables = [[epoch, table.tolist()] for epoch, table in history]
    value = {"version": 1, "operations": OPERATIONS, "probabilities": tables[-1][1], "history": tables}
    (folder / "policy" / "sampler.json").write_text(json.dumps(value))
