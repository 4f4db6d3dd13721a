"""Configs keep their promise: they load, pass the checks, and allow what the package has."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import metaaug_tf as ma
from metaaug_tf.augmentation.policies import POLICIES
from metaaug_tf.config import (
    Config,
    check_config,
    config_digest,
    config_for,
    describe_difference,
    settings_table,
    with_settings_of_before,
)
from metaaug_tf.meta.choices import METHODS, WEIGHTINGS
from metaaug_tf.policy.choices import HEADS
from metaaug_tf.settings import RECORDS, DataSettings, Settings, setting
from metaaug_tf.tasks.registry import NETWORKS

# Of the configs of 7bae695.
DIGESTS = json.loads((Path(__file__).parent / "reference" / "digests.json").read_text(encoding="utf-8"))
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
    ("name", "rows"),
    [
        ("meta_gradient", METHODS),
        ("weighting", WEIGHTINGS),
        ("policy_head", HEADS),
        ("policy", POLICIES),
        ("model", NETWORKS),
    ],
)
def test_rules_allow_exactly_the_rows_there_are(name, rows):
    rule = settings_table()[name].metadata["rule"]
    assert all(rule.allows(row) for row in rows) and not rule.allows("no such row")
    named = rule.words().removeprefix("one of ").split(" or applications/")[0]
    assert sorted(named.split(", ")) == sorted(rows)


def test_networks_of_keras_are_allowed_by_their_prefix():
    rule = settings_table()["model"].metadata["rule"]
    assert rule.allows("applications/VGG16") and "applications/NAME" in rule.words() and not rule.allows("resnet")


def test_every_setting_has_a_meaning_and_stands_in_the_records_once():
    names = [row.name for record in RECORDS for row in fields(record)]
    assert sorted(set(names)) == sorted(settings_table()) and all(
        names.count(name) == 1 for name in names if name != "seed"
    )
    assert all(row.metadata["meaning"] for row in settings_table().values())


def test_records_hold_the_flat_config_and_give_it_back():
    flat = {**config_for("omniglot").to_dict(), "seed": 7, "cutout": 3, "weight_decay": 1e-3, "batch_size": 9}
    config = Config.of(flat)
    assert config.flat == flat
    assert (config.data.seed, config.run.seed, config.augmentation.cutout, config.run.batch_size) == (7, 7, 3, 9)
    assert DataSettings.of({"image_size": 8, "unknown": 1}) == DataSettings(image_size=8)


def test_all_faults_are_reported_at_once():
    config = config_for("glyphs").to_dict()
    with pytest.raises(ma.UserError) as caught:
        check_config({**config, "epochs": 0, "fill": 256, "policy": "best"})
    for part in ("epochs must be from 1 to 999999, got 0", "fill must be from 0 to 255, got 256", *POLICIES):
        assert part in str(caught.value)


def test_settings_that_no_command_line_gives_are_rejected():
    config = config_for("glyphs").to_dict()
    del config["depth"]
    with pytest.raises(ma.UserError) as caught:
        check_config({**config, "epochs": 2.5, "flip": 1, "dataset": None, "model": ["conv_net"], "shell": "rm"})
    for part in (
        "depth is missing: use the version that the run",
        "shell is not a setting",
        "epochs must be of type int, got 2.5",
        "flip must be of type bool, got 1",
        "dataset must be of type str, got None",
        "model must be of type str",
    ):
        assert part in str(caught.value)
    check_config({**config_for("glyphs").to_dict(), "learning_rate": 1})


def test_warmup_must_leave_some_epochs():
    with pytest.raises(ma.UserError, match="warmup_epochs must be below --config.epochs=5, got 5"):
        check_config({**config_for("glyphs").to_dict(), "epochs": 5, "warmup_epochs": 5})


def test_difference_names_what_changed():
    assert describe_difference({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == "  b: 2 -> 3\n  c: (absent) -> 4"
    assert describe_difference({"a": 1}, {"a": 1}) == ""
    assert describe_difference({"checkpoints_kept": 1}, {"checkpoints_kept": 2}) == ""


def test_a_later_setting_at_the_value_of_before_changes_nothing_of_an_older_run(monkeypatch):
    @dataclass(frozen=True)
    class Later(Settings):
        """Stands for a record of a later version."""

        evidence: str = setting("loss", "what the policy sees", before="none")

    old, table = config_for("glyphs").to_dict(), settings_table()
    monkeypatch.setattr("metaaug_tf.config.settings_table", lambda: table | {row.name: row for row in fields(Later)})
    as_before, other = {**old, "evidence": "none"}, {**old, "evidence": "loss"}
    assert with_settings_of_before(old) == as_before and with_settings_of_before(other) == other
    assert config_digest(old) == config_digest(as_before) != config_digest(other)
    assert describe_difference(old, as_before) == "" and "evidence: (absent) -> loss" in describe_difference(old, other)


@pytest.mark.parametrize(("name", "digest"), DIGESTS.items())
def test_the_digest_of_an_old_run_is_as_it_was(name, digest):
    assert config_digest({**config_for(name).to_dict(), "policy_evidence": ""}) == digest
