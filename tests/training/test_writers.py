"""Everything that a run writes may fail once: what training can do without is lost with a word, the rest stops it."""

import errno
import os
import subprocess
import sys
import warnings

import pytest
from in_process import in_process

from metaaug_tf import files

SMALL = ["--dataset=glyphs", "--config.families=angle", "--config.train_per_class=4", "--config.validation_per_class=2"]
SMALL += ["--config.test_per_class=1", "--config.batch_size=8", "--config.validation_batch_size=8"]
SMALL += ["--config.warmup_epochs=0", "--config.measure_step_ratio=False", "--config.jit_compile=False"]
SMALL += ["--config.epochs=2"]
# Training continues without them; what is not here ends the command with exit code 2 and is written by the next.
DISPENSABLE = {"metrics.jsonl", "sampler.json", "000001-000000000"}


def names_written(workdir, monkeypatch, capfd, fail=""):
    """Runs the command with the first writing of the file or folder `fail` failing; (exit code, said, names)."""
    rename, seen = files._rename, []

    def planted(aside, path):
        seen.append(path.name)
        if path.name == fail and seen.count(fail) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(aside, path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_rename", planted)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            code, said = in_process([*SMALL, f"--workdir={workdir}"], patch, capfd)
    return code, said + "".join(str(warning.message) for warning in caught), seen


@pytest.mark.long
def test_each_writer_of_a_run_in_turn(tmp_path, monkeypatch, capfd):
    code, said, names = names_written(tmp_path / "whole", monkeypatch, capfd)
    assert code == 0, said
    assert {"config.json", "data.json", "summary.json", "policy.json", "report.html", *DISPENSABLE} <= set(names)
    whole = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    whole = {path for path in whole if path.parts[0] not in ("tensorboard", "export", "checkpoints")}
    for name in dict.fromkeys(names):
        workdir = tmp_path / f"without {name}"
        code, said, _ = names_written(workdir, monkeypatch, capfd, name)
        if name in DISPENSABLE:
            assert code == 0 and "Input/output error" in said, (name, said)
        else:
            assert code == 2 and "Input/output error" in said and "Traceback" not in said, (name, said)
            assert in_process([*SMALL, f"--workdir={workdir}"], monkeypatch, capfd)[0] == 0, name
        assert all((workdir / path).is_file() for path in whole), name
        assert not list(workdir.rglob(".part*")), name


@pytest.mark.parametrize(
    "where",
    [
        "a full disk",
        pytest.param("a reader that is gone", marks=pytest.mark.long),
        pytest.param("nowhere", marks=pytest.mark.long),
    ],
)
def test_a_training_goes_on_without_anybody_to_read_its_output(where, tmp_path):
    if where == "nowhere":
        out = {"close_fds": True, "preexec_fn": lambda: (os.close(1), os.close(2))}
    elif where == "a full disk":
        out = {"stdout": open("/dev/full", "w"), "stderr": subprocess.STDOUT}  # noqa: SIM115
    else:
        reader, writer = os.pipe()
        os.close(reader)
        out = {"stdout": writer, "stderr": subprocess.STDOUT}
    command = [sys.executable, "-m", "metaaug_tf.main", *SMALL, "--policy=none", f"--workdir={tmp_path / 'run'}"]
    assert subprocess.run(command, timeout=300, **out).returncode == 0
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.long
def test_a_figure_that_can_not_be_printed_is_an_error(tmp_path):
    command = [sys.executable, "-m", "metaaug_tf.main", "--check_data", f"--workdir={tmp_path}"]
    with open("/dev/full", "w") as full:
        assert subprocess.run(command, timeout=300, stdout=full, stderr=subprocess.DEVNULL).returncode == 2


@pytest.mark.parametrize("flag", ["--workdir", "--data_dir", "--fork", "--show_policy"])
def test_paths_that_are_not_utf_8_are_rejected(flag, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code, said = in_process([f"{flag}=a\udcff"], monkeypatch, capfd)
    assert code == 2 and "must be a path in UTF-8" in said and not list(tmp_path.iterdir())
