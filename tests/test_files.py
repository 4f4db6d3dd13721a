"""Writing aside and renaming: a crash, a loss of power or another writer never leaves half a file or folder."""

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metaaug_tf import files
from metaaug_tf.files import folder_written_aside, write_text, written_aside


def write_file(path, text):
    write_text(path, text)


def write_folder(path, text):
    with folder_written_aside(path) as aside:
        (aside / "inner").mkdir()
        (aside / "inner/text").write_text(text)


@pytest.fixture
def calls(monkeypatch):
    """What was brought to the disk and renamed, in order: names below the folder that is written in."""
    found, fsync, replace = [], os.fsync, os.replace

    def noted_fsync(descriptor):
        found.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def noted_replace(source, target):
        found.append(("rename", Path(source), Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return found


def test_a_file_is_on_the_disk_before_it_is_renamed_and_its_name_afterwards(tmp_path, calls):
    write_file(tmp_path / "a.json", "1")
    (_, written), (_, source, target), (_, last) = calls
    assert [kind for kind, *_ in calls] == ["fsync", "rename", "fsync"]
    assert written == source and target == tmp_path / "a.json" and last == tmp_path


def test_all_of_a_folder_is_on_the_disk_before_it_is_renamed_and_its_name_afterwards(tmp_path, calls):
    write_folder(tmp_path / "1", "x")
    *synced, (kind, aside, target), last = calls
    assert kind == "rename" and target == tmp_path / "1" and last == ("fsync", tmp_path)
    assert {path for _, path in synced} == {aside, aside / "inner", aside / "inner/text"}
    assert (tmp_path / "1/inner/text").read_text() == "x"


@pytest.mark.parametrize("place", ["fsync", "replace"])
@pytest.mark.parametrize("write", [write_file, write_folder])
def test_where_writing_fails_all_is_as_it_was(tmp_path, monkeypatch, write, place):
    write(tmp_path / "kept", "old")
    before = {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, place, full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / ("kept" if write is write_file else "new"), "new")
    assert {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")} == before


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    write_folder(tmp_path / "1", "theirs")
    with pytest.raises(OSError):
        write_folder(tmp_path / "1", "mine")
    assert (tmp_path / "1/inner/text").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_what_a_killed_process_left_goes_away_and_what_another_one_writes_stays(tmp_path, write):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".part.{ended.pid}.a").mkdir()
    (tmp_path / f".part.{ended.pid}.a/half").touch()
    (tmp_path / f".part.{ended.pid}.b").touch()
    (tmp_path / f".part.{os.getppid()}.a").touch()
    write(tmp_path / "a", "x")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("a", f".part.{ended.pid}.b", f".part.{os.getppid()}.a"),
    }


@pytest.mark.parametrize("write", [write_file, write_folder])
def test_two_threads_that_write_one_file_do_not_disturb_each_other(tmp_path, monkeypatch, write):
    both_write, bring_to_disk = threading.Barrier(2, timeout=60), files._bring_to_disk

    def wait_for_the_other(entry):
        if ".part." in entry.name:
            both_write.wait()
        bring_to_disk(entry)

    monkeypatch.setattr(files, "_bring_to_disk", wait_for_the_other)

    def written(text):
        try:
            write(tmp_path / "a", text)
        except OSError as error:
            return error.errno
        return text

    with ThreadPoolExecutor(2) as pool:
        ended = set(pool.map(written, ["first", "second"]))
    inner = tmp_path / "a" if write is write_file else tmp_path / "a/inner/text"
    assert inner.read_text() in ended <= {"first", "second", errno.ENOTEMPTY}
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_two_processes_that_write_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    with written_aside(tmp_path / "a") as mine:
        mine.write_text("first")
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", os.getppid)
            write_text(tmp_path / "a", "second")
        assert (tmp_path / "a").read_text() == "second"
    assert (tmp_path / "a").read_text() == "first"
