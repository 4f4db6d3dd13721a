"""Configs keep their promise: they load, pass the checks, and allow what the package has."""

from pathlib import Path

import pytest

import metaaug_tf as ma
from metaaug_tf.augmentation.transform import POLICIES as DRAWN_POLICIES
from metaaug_tf.config import NETWORKS as NAMED_NETWORKS
from metaaug_tf.config import POLICIES, RULES, check_config, config_for, describe_difference
from metaaug_tf.meta.choices import METHODS, WEIGHTINGS
from metaaug_tf.policy.choices import HEADS
from metaaug_tf.tasks.registry import NETWORKS

CONFIGS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_config_passes_the_checks_and_its_docstring_promises(name):
    check_config({**config_for(name).to_dict(), "dataset": name})
    text = (Path(__file__).parents[1] / "configs" / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith('"""') and "Command: python -m metaaug_tf.main" in text and "Expected time" in text


def test_a_dataset_without_a_config_gets_the_defaults():
    config = config_for("rock_paper_scissors")
    assert config.dataset == "rock_paper_scissors" and config.epochs == config_for("default").epochs


@pytest.mark.parametrize(
    ("key", "names"),
    [("meta_gradient", METHODS), ("weighting", WEIGHTINGS), ("policy_head", HEADS), ("policy", DRAWN_POLICIES)],
)
def test_rules_allow_exactly_what_there_is(key, names):
    allowed, text = RULES[key]
    assert all(allowed(name) for name in names)
    assert sorted(text.removeprefix("one of ").split(", ")) == sorted(names)


def test_networks_are_those_of_the_registry_or_of_keras():
    allowed, text = RULES["model"]
    assert tuple(NETWORKS) == NAMED_NETWORKS and all(name in text for name in NETWORKS)
    assert allowed("applications/VGG16") and allowed("resnet_50") and not allowed("resnet")


def test_every_rule_is_of_a_setting_and_all_faults_are_told_at_once():
    config = config_for("glyphs").to_dict()
    assert set(RULES) <= set(config)
    with pytest.raises(ma.UserError) as caught:
        check_config({**config, "epochs": 0, "fill": 256, "policy": "best"})
    for part in ("epochs=0", "from 1 to 999999", "fill=256", "from 0 to 255", *POLICIES):
        assert part in str(caught.value)


def test_settings_that_no_command_line_gives_are_refused():
    config = config_for("glyphs").to_dict()
    del config["depth"]
    with pytest.raises(ma.UserError) as caught:
        check_config({**config, "epochs": 2.5, "flip": 1, "dataset": None, "model": ["conv_net"], "shell": "rm"})
    for part in (
        "depth is missing: a run of an",
        "shell is not a setting",
        "epochs=2.5",
        "flip=1",
        "type bool",
        "dataset=None",
    ):
        assert part in str(caught.value)
    check_config({**config_for("glyphs").to_dict(), "learning_rate": 1})


def test_difference_names_what_changed():
    assert describe_difference({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "  b: 2 -> 3\n  c: (absent) -> 4"
    assert describe_difference({"a": 1}, {"a": 1}) == ""
