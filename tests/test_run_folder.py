"""The run folder's names and the reading of its metrics, without TensorFlow."""

import json
import re
import subprocess
import sys

import pytest

from metaaug_tf.errors import UserError
from metaaug_tf.run_folder import RunFolder, locked, read_rows


def test_its_names_are_known_without_tensorflow():
    code = "import sys, metaaug_tf.run_folder; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_of_an_older_version_has_the_same_names(tmp_path):
    run = RunFolder(tmp_path)
    names = {
        *("config.json", "metrics.jsonl", "summary.json", "classes.json", "report.html", ".lock"),
        *("checkpoints", "tensorboard", "policy", "export"),
        *("policy/sampler.json", "policy/policy.json", "policy/network.weights.h5", "policy/observations.npz"),
        *("export/task", "export/policy", "export/augment"),
    }
    files = run.policy_files
    found = {
        *(run.config, run.metrics, run.summary, run.classes, run.report, run.lock),
        *(run.checkpoints, run.tensorboard, run.policy, run.export),
        *(files.sampler, files.settings, files.weights, files.observations),
        *(run.task_export, run.policy_export, run.augment_export),
    }
    assert {str(path.relative_to(tmp_path)) for path in found} == names
    assert run.runtime_export("onnx") == tmp_path / "export/onnx"


ROWS = [{"epoch": epoch, "loss": 2.0 - epoch} for epoch in range(3)]


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


WHOLE = {
    "all": lines(*ROWS),
    "no end of the last line": lines(*ROWS)[:-1],
    "empty lines": lines(ROWS[0]) + b"\n  \n" + lines(*ROWS[1:]) + b"\n",
    "cut off": lines(*ROWS) + b'{"epoch": 3, "lo',
    "cut off within a character": lines(*ROWS) + b'{"epoch": 3, "caf\xc3',
    "not yet on the disk": lines(*ROWS) + bytes(100),
    "cut off, nested deep": lines(*ROWS) + b"[" * 100_000,
    "an epoch twice, out of order": lines(ROWS[1], {"epoch": 2, "loss": 9}, ROWS[0], ROWS[2]),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_rows_are_those_of_whole_lines_by_epoch(tmp_path, kind):
    (tmp_path / "metrics.jsonl").write_bytes(WHOLE[kind])
    assert read_rows(tmp_path / "metrics.jsonl") == ROWS


def test_without_a_file_there_are_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []


DAMAGED = {
    "cut off": b'{"epoch": 1, "lo\n',
    "two in one": b'{"epoch": 1}{"epoch": 2}\n',
    "no text": b"\xff\xfe\n",
    "nested deep": b"[" * 100_000 + b"\n",
    "a list": b"[1]\n",
    "no epoch": b'{"loss": 1}\n',
    "an epoch that is no number": b'{"epoch": "1"}\n',
    "an epoch below 0": b'{"epoch": -1}\n',
    "half an epoch": b'{"epoch": 0.5}\n',
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("after", [b"", lines(ROWS[2])], ids=["the last line", "a middle line"])
def test_a_damaged_line_that_is_not_cut_off_is_an_error_that_names_file_and_line(tmp_path, kind, after):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines(ROWS[0]) + DAMAGED[kind] + after)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} can't be read: line 2"):
        read_rows(path)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (mine := tmp_path / "mine.txt").write_text("kept")
    RunFolder(tmp_path).lock.symlink_to(mine)
    with pytest.raises(UserError, match="must be a file, got a link; remove it"), locked(tmp_path):
        pass
    assert mine.read_text() == "kept"
