"""The newest version takes over once it is loaded; one that can't be leaves the old one in place."""

from types import SimpleNamespace

import pytest

from metaaug_tf.errors import UserError
from metaaug_tf.export.server.versions import Versions


@pytest.fixture
def folder(tmp_path):
    add(tmp_path, 1)
    return tmp_path


def add(folder, number, content="fine"):
    (folder / str(number)).mkdir()
    (folder / str(number) / "saved_model.pb").write_text(content)


def load(path):
    if (path / "saved_model.pb").read_text() != "fine":
        raise UserError(f"{path.name} is broken")
    return SimpleNamespace(path=path, version=path.name)


def test_the_newest_version_takes_over(folder):
    versions = Versions(folder, load)
    add(folder, 10)
    (folder / "11").mkdir()  # not there yet
    assert versions.current.version == "1"
    versions.look()
    assert versions.current.version == "10"


def test_a_version_that_is_taken_back_is_followed_by_the_one_before(folder):
    add(folder, 2)
    versions = Versions(folder, load)
    (folder / "2/saved_model.pb").unlink()
    versions.look()
    assert versions.current.version == "1"


def test_the_loaded_one_stays_where_all_are_removed(folder):
    versions = Versions(folder, load)
    (folder / "1/saved_model.pb").unlink()
    versions.look()
    assert versions.current.version == "1" and versions.failed == 0


def test_a_broken_version_is_tried_once_until_it_changes(folder, caplog):
    versions = Versions(folder, load)
    add(folder, 2, "broken")
    versions.look()
    versions.look()
    assert (versions.current.version, versions.failed) == ("1", 1)
    assert len(caplog.records) == 1 and "2 is broken" in caplog.text
    (folder / "2/variables").write_text("came later")
    versions.look()
    assert versions.failed == 2
    (folder / "2/saved_model.pb").write_text("fine")
    versions.look()
    assert versions.current.version == "2"


def test_a_single_version_stays(folder):
    versions = Versions(folder / "1", load)
    add(folder, 2)
    versions.look()
    assert versions.current.version == "1"


def test_there_must_be_one_at_the_start(tmp_path):
    with pytest.raises(UserError, match="is not an export"):
        Versions(tmp_path, load)
