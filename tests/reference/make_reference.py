"""Makes the reference that later versions are compared with; run once, on commit 7bae695, and never again.

    python tests/reference/make_reference.py tests/reference

Writes:
    rows.json       metrics of small runs, on one core of the processor named in it
    batches.json    checksums of training batches, which no processor changes
    model.keras     a MetaAugment model after two epochs, with what it predicts in model.npz
    augment.keras   a classifier with a LearnedAugment layer
    run.zip         a finished run folder, without exports and report
    digests.json    of the settings of some datasets

It uses nothing but the command line and public names, so that it runs on any version.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SMALL = (
    "--config.policy_evidence=",  # did not exist yet
    "--config.families=shape,angle",
    "--config.train_per_class=6",
    "--config.validation_per_class=2",
    "--config.test_per_class=2",
    "--config.batch_size=16",
    "--config.validation_batch_size=16",
    "--config.warmup_epochs=0",
    "--config.measure_step_ratio=False",
    "--config.jit_compile=False",
    "--config.epochs=3",
)
RUNS = {
    "exact": (),
    "finite difference": (
        "--config.meta_gradient=finite_difference",
        "--config.meta_every=2",
        "--config.normalise_weights=False",
        "--config.policy_warmup_fraction=0.34",
    ),
    "last block": (
        "--config.meta_gradient=last_block",
        "--config.policy_head=additive",
        "--config.model=wide_resnet",
        "--config.depth=10",
        "--config.width=1",
    ),
    "shuffled": (
        "--config.weighting=shuffled",
        "--config.sampler_identity_odds=13",
        "--config.sampler_epsilon=0.3",
        "--config.dtype=mixed_bfloat16",
    ),
    "uniform": (
        "--policy=uniform",
        "--config.padding=2",
        "--config.flip=True",
        "--config.cutout=6",
        "--config.transforms_per_sample=2",
    ),
    "randaugment": (
        "--policy=randaugment",
        "--config.label_noise=0.2",
        "--config.label_smoothing=0.1",
        "--config.ema_momentum=0.9",
    ),
    "trivialaugment": ("--policy=trivialaugment", "--config.train_on_validation=True", "--seed=3"),
    "none": ("--policy=none", "--config.decay_scales_and_biases=False", "--config.warmup_epochs=1"),
}
# They differ from run to run.
TIMES = ("seconds", "cpu_seconds", "images_per_second", "input_bound_fraction")
POLICIES = ("metaaugment", "uniform", "randaugment", "trivialaugment", "none")


def processor() -> str:
    """What the last digits of floating-point results depend on: the processor's kind and what it can do."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    wanted = ("model name", "flags")
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines if line.strip()}
    return hashlib.sha256(json.dumps([found.get(name) for name in wanted]).encode()).hexdigest()[:16]


def train(workdir: Path, flags) -> None:
    """Trains a run on one core."""
    command = [sys.executable, "-m", "metaaug_tf.main", "--dataset=glyphs", f"--workdir={workdir}", *SMALL, *flags]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_pin)
    assert done.returncode == 0, done.stderr


def _pin() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])


def rows_of(workdir: Path) -> dict:
    """The run's metrics without its times, and its result."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
    summary = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))
    table = json.loads((workdir / "policy" / "sampler.json").read_text(encoding="utf-8"))["probabilities"]
    kept = {key: summary[key] for key in ("test_accuracy", "test_loss", "validation_accuracy")}
    return {"rows": rows, "summary": kept, "sampler": hashlib.sha256(json.dumps(table).encode()).hexdigest()}


def examples(count: int, seed: int):
    """Images and labels drawn at random."""
    import numpy as np

    import metaaug_tf as ma

    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)
    return ma.Examples(images, random.integers(0, 4, count).astype(np.int32))


def batch_digests() -> dict[str, str]:
    """Checksum of all batches of two epochs, for each policy and some settings."""
    import metaaug_tf as ma

    settings = {policy: {"policy": policy} for policy in POLICIES}
    settings["all"] = {"policy": "metaaugment", "padding": 3, "cutout": 5, "fill": 17, "transforms_per_sample": 2}
    digests = {}
    for name, chosen in settings.items():
        sampler = ma.PairSampler(identity_odds=3.0)
        content = hashlib.sha256()
        dataset = ma.training_dataset(
            examples(40, 0),
            examples(12, 1),
            sampler,
            batch_size=8,
            validation_batch_size=5,
            seed=11,
            augmentation=ma.Augmentation(**chosen),
        )
        for _ in range(2):
            for inputs, labels in dataset.as_numpy_iterator():
                for array in (*(inputs[key] for key in sorted(inputs) if key != "indices"), labels):
                    content.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
            sampler.end_epoch()
        digests[name] = content.hexdigest()
    return digests


def make_model(folder: Path) -> None:
    """Saves a trained MetaAugment and a classifier with a LearnedAugment layer, and what they predict."""
    import keras
    import numpy as np

    import metaaug_tf as ma

    keras.utils.set_random_seed(1)
    layers = keras.layers
    pixels = keras.Input((12, 10, 3))
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(4, 3, strides=2, activation="tanh")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.2, seed=3)(layers.Flatten()(x))
    task = keras.Model(pixels, layers.Dense(4, name="logits")(x))
    model = ma.MetaAugment(
        task, ma.PolicyNetwork(hidden_units=9, identity_odds=2.0, evidence=()), ma.PairSampler(3, 0.2, 2.0)
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
        policy_optimizer=keras.optimizers.Adam(3e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        meta_gradient="finite_difference",
        meta_every=2,
        policy_warmup_steps=1,
        jit_compile=False,
    )
    train, validation = examples(40, 0), examples(12, 1)
    model.fit(ma.training_dataset(train, validation, model.sampler, batch_size=8), epochs=2, verbose=0)
    model.save(folder / "model.keras")
    images = train.images[:6]
    pairs, magnitudes = ma.draw_transformations("uniform", None, 0, 0, np.arange(6))
    features = model.features(images)
    np.savez(
        folder / "model.npz",
        images=images,
        predictions=model.predict(images, verbose=0),
        weights=model.policy_network(features, ma.transformation_embedding(pairs, magnitudes)).numpy(),
        embedding=ma.transformation_embedding(pairs, magnitudes).numpy(),
        probabilities=model.sampler.probabilities.numpy(),
        epoch=model.sampler.epoch.numpy(),
        momentum=model.optimizer.variables[2].numpy(),
        policy_moment=model.policy_optimizer.variables[2].numpy(),
    )
    augment = ma.LearnedAugment(model.sampler.probabilities.numpy(), fill=9, seed=4)
    pixels = keras.Input((12, 10, 3), dtype="uint8")
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(augment(pixels)))
    keras.Model(pixels, layers.Dense(4)(flat)).save(folder / "augment.keras")


def keep_few_observations(path: Path, count: int = 20) -> None:
    """Leaves the first ones of a run's observations: noisy images, which make up most of its folder."""
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        few = {name: array[:count] for name, array in arrays.items()}
    np.savez_compressed(path, allow_pickle=False, **few)


def make_run(folder: Path) -> None:
    """Zips what a finished run needs to be evaluated, exported and reported."""
    with tempfile.TemporaryDirectory() as scratch:
        workdir = Path(scratch) / "run"
        train(workdir, ("--config.families=angle", "--config.checkpoints_kept=1"))
        keep_few_observations(workdir / "policy" / "observations.npz")
        left_out = ("export", "tensorboard", "report.html", ".lock")
        with zipfile.ZipFile(folder / "run.zip", "w", zipfile.ZIP_LZMA) as archive:
            for path in sorted(workdir.rglob("*")):
                name = path.relative_to(workdir)
                if path.is_file() and name.parts[0] not in left_out:
                    archive.write(path, name)


def digests() -> dict[str, str]:
    """What checkpoints are compared by: a digest of the settings."""
    from metaaug_tf.config import config_digest, config_for

    names = ("glyphs", "omniglot", "imagenet2012", "rock_paper_scissors")
    return {name: config_digest(config_for(name).to_dict()) for name in names}


def main() -> None:
    """Makes everything."""
    folder = Path(sys.argv[1])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, flags in RUNS.items():
            train(Path(scratch) / name, flags)
            runs[name] = rows_of(Path(scratch) / name)
            print(name, runs[name]["summary"], flush=True)
    (folder / "rows.json").write_text(json.dumps({"processor": processor(), "runs": runs}, indent=1) + "\n")
    make_run(folder)
    (folder / "batches.json").write_text(json.dumps(batch_digests(), indent=1) + "\n")
    (folder / "digests.json").write_text(json.dumps(digests(), indent=1) + "\n")
    make_model(folder)


if __name__ == "__main__":
    main()
