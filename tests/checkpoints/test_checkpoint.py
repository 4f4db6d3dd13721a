"""The files of checkpoints: written whole or not at all, checked, kept in number, fallen back on."""

import errno
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import metaaug_tf as ma
from metaaug_tf.checkpoints import folder as checkpoint_folder
from metaaug_tf.checkpoints.folder import Checkpoint, CheckpointFolder, Position, read_checkpoint

ARRAYS = {"model/00000": np.arange(6, dtype=np.float32).reshape(2, 3), "model/00001": np.array(7, np.int64)}


def write(folder, *positions):
    for epoch, step in positions:
        arrays = {**ARRAYS, "model/00001": np.array(epoch * 100 + step)}
        folder.write(Checkpoint(Position(epoch, step), arrays, {"digest": "d"}))


def test_what_is_read_is_what_was_written(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.newest_whole() is None
    write(folder, (1, 12))
    saved = folder.newest_whole()
    assert saved.position == Position(1, 12) and saved.metadata["digest"] == "d"
    assert int(saved.tensors["model/00001"]) == 112
    np.testing.assert_array_equal(saved.tensors["model/00000"], ARRAYS["model/00000"])
    assert saved.tensors["model/00000"].dtype == np.float32


def test_the_checksums_are_those_of_sha256sum(tmp_path):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 3))
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / folder.names()[0], capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_the_newest_are_kept_by_position(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    write(folder, (0, 9), (0, 10), (1, 0), (10, 0), (11, 5))
    assert [read_checkpoint(tmp_path / name).position for name in folder.names()] == [Position(11, 5), Position(10, 0)]


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_empty(path):
    path.write_bytes(b"")


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def damage_absent(path):
    path.unlink()


DAMAGES = [damage_truncated, damage_empty, damage_bit, damage_absent]
FILES = ["tensors.npz", "checkpoint.json", "SHA256SUMS"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_newest_one_falls_back_to_the_one_before_and_says_so(tmp_path, damage, file):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 5), (1, 0))
    damage(tmp_path / Position(1, 0).folder_name / file)
    with pytest.warns(UserWarning, match="000001-000000000 is damaged .*falling back.*000000-000000005"):
        assert folder.newest_whole().position == Position(0, 5)


def test_every_single_flipped_bit_of_the_sums_and_metadata_is_noticed_or_harmless(tmp_path):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 5), (1, 0))
    for file in FILES[1:]:
        path = tmp_path / Position(1, 0).folder_name / file
        whole = path.read_bytes()
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bytes(flipped))
            try:
                saved = read_checkpoint(path.parent)
            except checkpoint_folder._Damaged:
                continue
            assert file == "SHA256SUMS" and saved.metadata["digest"] == "d" and int(saved.tensors["model/00001"]) == 100
        path.write_bytes(whole)


def test_where_all_are_damaged_nothing_starts_from_scratch(tmp_path):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 5), (1, 0))
    for name in folder.names():
        damage_truncated(tmp_path / name / "tensors.npz")
    with pytest.raises(ma.UserError, match="no checkpoint can be restored(.|\n)*choose another --workdir"):
        folder.newest_whole()


def test_a_damaged_one_is_replaced_when_training_comes_by_again(tmp_path):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 5), (1, 0), (1, 4))
    damage_empty(tmp_path / Position(1, 0).folder_name / "tensors.npz")
    damage_empty(tmp_path / Position(1, 4).folder_name / "tensors.npz")
    write(folder, (1, 0))
    assert folder.names() == [Position(1, 0).folder_name, Position(0, 5).folder_name]
    assert folder.newest_whole().position == Position(1, 0)


@pytest.mark.parametrize("name", [".part.7.000001-000000000", ".000001-000000000.part"])
def test_a_half_written_one_is_not_seen_and_goes_away(tmp_path, name):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 5))
    part = tmp_path / name
    part.mkdir()
    (part / "tensors.npz").write_bytes(b"half")
    assert folder.newest_whole().position == Position(0, 5)
    write(folder, (2, 0))
    assert not part.exists()


def raising(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


no_space = raising(errno.ENOSPC)
PLACES = {"arrays": (np, "savez"), "text": (Path, "write_text"), "sync": (os, "fsync"), "rename": (os, "replace")}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_without_room_the_newest_before_stays(tmp_path, monkeypatch, place, number):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 1), (0, 2), (0, 3))
    monkeypatch.setattr(*place, raising(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        write(folder, (0, 4))
    monkeypatch.undo()
    assert Position(0, 3).folder_name in folder.names() and Position(0, 2).folder_name not in folder.names()
    assert not list(tmp_path.glob(".*"))
    assert folder.newest_whole().position in (Position(0, 3), Position(0, 4))


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES], ids=errno.errorcode.get)
def test_an_error_that_no_room_would_help_leaves_all_older_ones(tmp_path, monkeypatch, place, number):
    folder, calls = CheckpointFolder(tmp_path), []

    def fail(*arguments, **keywords):
        calls.append(arguments)
        raising(number)()

    write(folder, (0, 1), (0, 2), (0, 3))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(*place, fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        write(folder, (0, 4))
    monkeypatch.undo()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert before == {path: after.get(path) for path in before} and len(calls) == 1
    assert not list(tmp_path.glob(".*"))


def test_on_a_full_disk_older_ones_make_room(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 1), (0, 2), (0, 3))
    whole = np.savez

    def savez(*args, **arrays):
        if len(folder.names()) > 1:
            no_space()
        whole(*args, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    write(folder, (0, 4))
    assert folder.names() == [Position(0, 4).folder_name, Position(0, 3).folder_name]


def test_all_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    done, sync, replace = [], os.fsync, os.replace

    def noting_sync(descriptor):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def noting_replace(*names):
        done.append("renamed")
        replace(*names)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(os, "replace", noting_replace)
    write(CheckpointFolder(tmp_path), (0, 1))
    at = done.index("renamed")
    assert set(FILES) <= set(done[:at]) and done[at + 1 :] == [tmp_path.name]


@pytest.mark.parametrize("place", [PLACES["arrays"], PLACES["rename"]], ids=["arrays", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_where_there_is_room_again_the_second_try_is_written(tmp_path, monkeypatch, place, number):
    folder, calls = CheckpointFolder(tmp_path), []
    whole = getattr(*place)

    def fail_once(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 1:
            raising(number)()
        whole(*arguments, **keywords)

    write(folder, (0, 1), (0, 2), (0, 3))
    monkeypatch.setattr(*place, fail_once)
    write(folder, (0, 4))
    assert folder.names() == [Position(0, 4).folder_name, Position(0, 3).folder_name]
    assert folder.newest_whole().position == Position(0, 4)


def reading(monkeypatch, meanwhile):
    """Lets `meanwhile(name)` happen between the listing of the checkpoints and the reading of each."""
    read = checkpoint_folder.read_checkpoint

    def read_after(path):
        meanwhile(path.name)
        return read(path)

    monkeypatch.setattr(checkpoint_folder, "read_checkpoint", read_after)


def test_one_that_goes_while_it_is_read_is_no_damage(tmp_path, monkeypatch, recwarn):
    """As a training with checkpoints_kept=1 does: the new one is there before the old one goes."""
    training, steps = CheckpointFolder(tmp_path, keep=1), []

    def train_on(name):
        if len(steps) < 3:
            steps.append(name)
            write(training, (0, 1 + len(steps)))

    write(training, (0, 1))
    reading(monkeypatch, train_on)
    saved = CheckpointFolder(tmp_path).newest_whole()
    assert saved.position == Position(0, 4) and int(saved.tensors["model/00001"]) == 4
    assert steps == [Position(0, step).folder_name for step in (1, 2, 3)] and not recwarn.list


def test_a_newer_one_that_comes_while_a_damaged_one_is_read_is_taken(tmp_path, monkeypatch, recwarn):
    folder = CheckpointFolder(tmp_path)
    write(folder, (0, 1), (0, 2))
    damage_empty(tmp_path / Position(0, 2).folder_name / "tensors.npz")
    reading(monkeypatch, lambda name: name == Position(0, 2).folder_name and write(folder, (0, 3)))
    assert folder.newest_whole().position == Position(0, 3) and not recwarn.list


def test_checkpoints_replaced_faster_than_they_are_read_are_not_called_damaged(tmp_path, monkeypatch):
    training, steps = CheckpointFolder(tmp_path, keep=1), iter(range(2, 60))
    write(training, (0, 1))
    reading(monkeypatch, lambda _: write(training, (0, next(steps))))
    with pytest.raises(ma.UserError, match="replaced faster than they can be read; wait until the training"):
        CheckpointFolder(tmp_path).newest_whole()
    assert next(steps) < 50


def test_metadata_are_json(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.write(Checkpoint(Position(0, 1), ARRAYS, {"best": np.float32(0.1)}))
    metadata = json.loads((tmp_path / folder.names()[0] / "checkpoint.json").read_text())
    assert metadata["best"] == float(np.float32(0.1)) and (metadata["epoch"], metadata["step"]) == (0, 1)
