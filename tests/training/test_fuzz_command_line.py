"""Command lines and settings nobody would give: a run that can be, or exit code 2 and a message."""

import string
from pathlib import Path

import numpy as np
import pytest
from fuzzing import few_and_many, fuzz
from hypothesis import strategies as st
from in_process import in_process

import metaaug_tf as ma
from metaaug_tf import main
from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.config import Config, check_config, config_for
from metaaug_tf.data.sources import check
from metaaug_tf.data.sources.load import check_settings
from metaaug_tf.run_folder import RunFolder
from metaaug_tf.training import train
from metaaug_tf.training.prepare import prepare
from metaaug_tf.workers.workers import Workers

SETTINGS = config_for("glyphs").to_dict()
# What a system passes on: any text, bytes that are no UTF-8 as lone surrogates, but no zero.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.just("\udcff"), max_size=12)
ODD = ["", "None", "True", "nan", "inf", "-inf", "1e400", "()", "[1]", "{}", "'", "0x10", "1_0", "²", "9" * 5000]
ODD += ["(" * 300, "-" * 3000 + "1", "../..", "/dev/null", "/proc/self/mem", "a/b:1.0.0", "ns:name", "_x", "default"]
VALUE = TEXT | st.integers().map(str) | st.floats().map(str) | st.sampled_from(ODD)
KEY = st.sampled_from(sorted(SETTINGS)) | TEXT | st.sampled_from(["epochs.x", "", ".", "__class__", "get", "to_dict"])
NAME = st.sampled_from([*main.OWN_FLAGS, "config", "flagfile", "undefok", "help", "v"])
WORDS = [
    "glyphs",
    "mnist",
    "wide_resnet",
    "applications/VGG16",
    "exact",
    "equal",
    "additive",
    "shape",
    "float32",
    "auto",
]
OF_ITS_TYPE = {
    bool: st.booleans(),
    int: st.integers(-1, 300) | st.integers(),
    float: st.floats(0, 1) | st.floats(),
    str: st.sampled_from([*WORDS, *POLICIES, *main.MODES]) | TEXT,
}
PLAUSIBLE = st.one_of(
    *(
        st.builds(f"--config.{key}={{}}".format, st.just(default) | OF_ITS_TYPE[type(default)])
        for key, default in SETTINGS.items()
    ),
    *(st.builds(f"--{name}={{}}".format, OF_ITS_TYPE[str]) for name in main.OWN_FLAGS),
)
ODDITY = st.one_of(
    st.builds("--config.{}={}".format, KEY, VALUE),
    st.builds("--{}={}".format, NAME, VALUE),
    st.builds("--{}{}".format, st.sampled_from(["", "no", "config."]), NAME | KEY),
    st.builds("{}{}".format, st.sampled_from(["", "-", "--"]), TEXT | st.text(string.ascii_letters)),
)


@few_and_many(40, 600)
def test_any_command_line(cases, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(train, "train", lambda config, *_: started.append(config))
    monkeypatch.setattr(check, "check_data", lambda settings, *_: check_settings(settings))

    def checked(arguments):
        try:
            code, said = in_process(arguments, monkeypatch, capfd)
        except SystemExit as exit:
            code, said = exit.code, "help"
        assert code in (0, 2) and "Traceback" not in said and (said or code == 0)
        for config in started:
            check_config(config.flat)
        started.clear()

    fuzz(cases, checked, st.lists(st.one_of(PLAUSIBLE, PLAUSIBLE, PLAUSIBLE, ODDITY), max_size=4))
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def rarely(*odd, usually):
    """One in ten of the odd ones, or so: several settings that are refused would hide each other."""
    return st.sampled_from([value for value in usually for _ in range(9 * len(odd))] + [*odd] * len(usually))


SMALL = {
    "image_size": st.sampled_from([0, 1, 2, 3, 7, 16, 33]),
    "network_image_size": st.sampled_from([0, 0, 1, 24]),
    "channels": st.sampled_from([1, 3]),
    "families": rarely("hue,hue", "", usually=["shape", "hue,angle", "shape,hue,angle"]),
    "train_per_class": rarely(1, usually=[0, 4, 6]),
    "validation_per_class": rarely(0, 6, usually=[1, 2]),
    "test_per_class": st.integers(1, 2),
    "validation_examples": rarely(1, 40, usually=[0]),
    "validation_fraction": rarely(0.01, 0.5, 0.9, usually=[0.0]),
    "train_examples": rarely(1, 50, usually=[0]),
    "batch_size": st.integers(1, 9),
    "validation_batch_size": st.sampled_from([1, 5, 1000]),
    "padding": st.sampled_from([0, 1, 40]),
    "cutout": st.sampled_from([0, 1, 100]),
    "fill": st.integers(0, 255),
    "flip": st.booleans(),
    "policy": st.sampled_from(list(POLICIES)),
    "model": st.sampled_from(["conv_net", "conv_net", "wide_resnet", "applications/None"]),
    "depth": st.just(10),
    "width": st.integers(1, 2),
    "dtype": st.sampled_from(["float32", "mixed_bfloat16"]),
    "learning_rate": st.sampled_from([1e-8, 0.1, 100.0]),
    "momentum": st.sampled_from([0.0, 0.9]),
    "weight_decay": st.sampled_from([0.0, 5e-4, 1.0]),
    "label_smoothing": st.sampled_from([0.0, 0.9]),
    "ema_momentum": st.sampled_from([0.0, 0.99]),
    "transforms_per_sample": st.integers(1, 3),
    "label_noise_kind": st.sampled_from(["uniform", "flip", "pairs"]),
    "long_tail": st.sampled_from([1.0, 2.0, 100.0]),
    "rare_classes": st.sampled_from([0, 1, 5]),
    "label_noise": st.sampled_from([0.0, 0.4, 1.0]),
    "train_on_validation": st.booleans(),
    "randaugment_magnitude": st.sampled_from([0.0, 10.0]),
    "policy_head": st.sampled_from(["contrast", "additive"]),
    "policy_hidden_units": st.integers(1, 5),
    "meta_gradient": st.sampled_from(["exact", "finite_difference", "last_block"]),
    "meta_every": st.integers(1, 3),
    "weighting": st.sampled_from(["learned", "equal", "shuffled"]),
    "normalise_weights": st.booleans(),
    "sampler_epsilon": st.sampled_from([0.0, 1.0]),
    "sampler_identity_odds": st.sampled_from([0.01, 13.0, 100.0]),
    "sampler_history_epochs": st.integers(1, 3),
    "jit_compile": st.just("False"),
    "warmup_epochs": rarely(2, usually=[0]),
    "epochs": st.integers(1, 2),
}


@pytest.mark.long
@few_and_many(4, 60)
def test_any_settings_train_a_step_or_are_refused(cases):
    outcomes = []

    def trained(changes):
        config = {**SETTINGS, **changes}
        try:
            check_config(config)
            job = prepare(Config.of(config), None, RunFolder(Path("nowhere")), Workers())
            dataset = job.training_dataset()
        except ma.UserError as error:
            outcomes.append(str(error))
            return
        logs = job.model.fit(dataset.take(1), verbose=0).history
        assert np.isfinite(logs["loss"][0]) and job.model.optimizer.iterations.numpy() == 1
        outcomes.append("trained")

    fuzz(cases, trained, st.fixed_dictionaries(SMALL))
    print(f"{outcomes.count('trained')} of {len(outcomes)} trained")
    assert all(outcomes) and "trained" in outcomes
