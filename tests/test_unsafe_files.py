"""Files made with bad intent: none runs code, reads or writes elsewhere, or takes memory that it does not hold."""

import io
import json
import os
import struct
import threading
import zipfile

import h5py
import keras
import numpy as np
import pytest
from numpy.lib import format as npy

import metaaug_tf as ma
from metaaug_tf.checkpoints.callback_state import restore_callbacks
from metaaug_tf.checkpoints.folder import METADATA_FILE, SUMS_FILE, TENSORS_FILE, Checkpoint, CheckpointFolder, Position
from metaaug_tf.config import config_for
from metaaug_tf.files import folder_written_aside, read_arrays, sha256_of, write_json
from metaaug_tf.policy.folder import read_network, write_policy, write_sampler
from metaaug_tf.report.page import write_report
from metaaug_tf.run_folder import PolicyFolder
from metaaug_tf.training import commands


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def with_right_sums(folder):
    """Whoever changes a checkpoint can also write its checksums again."""
    names = (TENSORS_FILE, METADATA_FILE)
    (folder / SUMS_FILE).write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in names))


@pytest.fixture
def checkpoint(tmp_path):
    """The only checkpoint of a folder, and the folder."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.write(Checkpoint(Position(0, 1), {"model/00000": np.zeros(3, np.float32)}, {}))
    return folder.path / folder.names()[0], folder


def zip_of(path, compression=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def header(shape):
    """The beginning of an .npy file that claims a shape."""
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_a_pickle_in_a_checkpoint_is_not_loaded(tmp_path, checkpoint):
    path, folder = checkpoint
    np.savez(path / TENSORS_FILE, **{"model/00000": np.array([Bomb(tmp_path / "ran")], dtype=object)})
    with_right_sums(path)
    with pytest.raises(ma.UserError, match="only pickle could read; it is not loaded"):
        folder.newest_whole()
    assert not (tmp_path / "ran").exists()
    np.load(path / TENSORS_FILE, allow_pickle=True)["model/00000"]
    assert (tmp_path / "ran").exists(), "it would have run"


BOMBS = {
    "compressed zeros": (zipfile.ZIP_DEFLATED, header((2**24,)) + bytes(2**26), "at most"),
    "a shape without data": (zipfile.ZIP_STORED, header((2**40,)), "claims the shape"),
    "a shape below zero": (zipfile.ZIP_STORED, header((-1, -4)) + bytes(16), "claims the shape"),
    "no header": (zipfile.ZIP_STORED, b"0123456789", "magic"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_arrays_of_a_checkpoint_take_no_more_than_the_file_holds(checkpoint, name):
    compression, content, message = BOMBS[name]
    path, folder = checkpoint
    zip_of(path / TENSORS_FILE, compression, **{"model/00000.npy": content})
    with_right_sums(path)
    with pytest.raises(ma.UserError, match=message):
        folder.newest_whole()


def test_an_archive_that_lies_about_its_sizes_is_cut_where_it_says(tmp_path):
    zip_of(path := tmp_path / "a.npz", zipfile.ZIP_DEFLATED, **{"a.npy": header((2**24,)) + bytes(2**26)})
    data = path.read_bytes()
    true, said = struct.pack("<L", len(header((2**24,))) + 2**26), struct.pack("<L", 1000)
    assert data.count(true) == 2
    path.write_bytes(data.replace(true, said))
    with pytest.raises(ValueError, match="BadZipFile|claims the shape"):
        read_arrays(path, most_bytes=10_000)


@pytest.mark.parametrize(
    "text", ["{'descr': '<f4', 'shape': (3,), ", "{[]: 1}", "(" * 3000], ids=["open", "key", "deep"]
)
def test_a_header_that_is_no_header_is_told_as_damage(tmp_path, text):
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    zip_of(path := tmp_path / "a.npz", **{"a.npy": start})
    with pytest.raises(ValueError):
        read_arrays(path, most_bytes=10_000)


def test_damage_within_a_compressed_array_is_told_as_such(tmp_path):
    zip_of(path := tmp_path / "a.npz", zipfile.ZIP_LZMA, **{"a.npy": header((2**10,)) + bytes(2**12)})
    content = bytearray(path.read_bytes())
    content[45:60] = b"\xff" * 15
    path.write_bytes(content)
    with pytest.raises(ValueError, match="LZMAError"):
        read_arrays(path, most_bytes=10_000)


def test_names_in_a_checkpoint_are_no_paths(tmp_path, checkpoint):
    path, folder = checkpoint
    (tmp_path / "secret.npy").write_bytes(header((1,)) + bytes(4))
    zip_of(path / TENSORS_FILE, **{"../../evil.npy": header((1,)) + bytes(4)})
    with_right_sums(path)
    assert list(folder.newest_whole().tensors) == ["../../evil"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoints", "secret.npy"]
    (path / SUMS_FILE).write_text(f"{sha256_of(tmp_path / 'secret.npy')}  ../../secret.npy\n")
    with pytest.raises(ma.UserError, match="damaged"):
        folder.newest_whole()


@pytest.mark.parametrize(
    "metadata", [[], {}, {"epoch": 0, "step": 2}, {"epoch": "0", "step": 1}, {"epoch": 1e9, "step": 1}]
)
def test_a_checkpoint_is_of_the_place_that_its_name_tells(checkpoint, metadata):
    path, folder = checkpoint
    (path / METADATA_FILE).write_text(json.dumps(metadata))
    with_right_sums(path)
    with pytest.raises(ma.UserError, match="damaged"):
        folder.newest_whole()


def test_metadata_nested_without_end_are_refused(checkpoint):
    path, folder = checkpoint
    (path / METADATA_FILE).write_text("[" * 100_000)
    with_right_sums(path)
    with pytest.raises(ma.UserError, match="nested too deep"):
        folder.newest_whole()


def test_a_checkpoint_does_not_tell_callbacks_where_to_write(tmp_path):
    callback = keras.callbacks.ModelCheckpoint(str(tmp_path / "mine.weights.h5"), save_weights_only=True)
    state = {"best": 0.5, "_batches_seen_since_last_saving": 0}
    restore_callbacks([callback], [{"kind": "ModelCheckpoint", "state": state}], {})
    assert callback.best == 0.5
    evil = {**state, "filepath": str(tmp_path / "theirs.weights.h5")}
    with pytest.raises(ma.UserError, match="filepath"):
        restore_callbacks([callback], [{"kind": "ModelCheckpoint", "state": evil}], {})
    assert callback.filepath.endswith("mine.weights.h5")
    for metadata in ([{"kind": "ModelCheckpoint"}], [5], [{"kind": "EarlyStopping", "state": {"weights_kept": 1}}]):
        with pytest.raises(ma.UserError, match="state of callbacks can't be used"):
            restore_callbacks([callback], metadata, {})


@pytest.fixture(scope="module")
def network():
    network = ma.PolicyNetwork(8)
    network(np.zeros((1, 6), np.float32), np.zeros((1, 28), np.float32))
    return network


@pytest.fixture
def policy(tmp_path, network):
    write_sampler(tmp_path / "policy", np.full((14, 14), 1 / 196), 0)
    write_policy(tmp_path / "policy", 128, network)
    return tmp_path / "policy"


def kernel_of(file):
    """(group, name) of the kernel of the branch that sees features [6, 8]."""
    found = []
    file.visititems(lambda name, item: found.append(name) if getattr(item, "shape", None) == (6, 8) else None)
    group, _, name = found[0].rpartition("/")
    return file[group], name


def link_outside(group, name, secret):
    group[name] = h5py.ExternalLink(secret, "secret")


def link_inside(group, name, secret):
    group[name] = h5py.SoftLink("/elsewhere")


def stored_outside(group, name, secret):
    group.create_dataset(name, (6, 8), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(group, name, secret):
    layout = h5py.VirtualLayout((6, 8), "f4")
    layout[:] = h5py.VirtualSource(secret, "secret", (6, 8))
    group.create_virtual_dataset(name, layout)


def claims_much(group, name, secret):
    group.create_dataset(name, (2**20, 2**10), "f4", chunks=(2**10, 2**10), compression="gzip")


@pytest.mark.parametrize("attack", [link_outside, link_inside, stored_outside, virtual, claims_much])
def test_weights_that_lead_elsewhere_or_claim_too_much_are_refused(tmp_path, policy, attack):
    assert read_network(policy).hidden_units == 8
    with h5py.File(secret := tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.ones((6, 8), np.float32)
    with h5py.File(PolicyFolder(policy).weights, "r+") as file:
        group, name = kernel_of(file)
        del group[name]
        attack(group, name, secret)
    with pytest.raises(ma.UserError, match="checksum"):
        read_network(policy)
    settings = json.loads((policy / "policy.json").read_text())
    write_json(policy / "policy.json", {**settings, "weights_sha256": sha256_of(PolicyFolder(policy).weights)})
    with pytest.raises(ma.UserError, match="can't be read as the network"):
        read_network(policy)


def test_a_network_larger_than_its_file_is_not_even_built(policy):
    settings = json.loads((policy / "policy.json").read_text())
    write_json(policy / "policy.json", {**settings, "hidden_units": 2**16, "feature_width": 2**24})
    with pytest.raises(ma.UserError, match="are not in a file"):
        read_network(policy)
    write_json(policy / "policy.json", {**settings, "hidden_units": 2**40})
    with pytest.raises(ma.UserError, match="hidden_units must be a whole number from 1 to 65536"):
        read_network(policy)


def test_a_lambda_within_a_saved_learned_augment_is_not_run(tmp_path, monkeypatch, network):
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    evil = keras.layers.Lambda(lambda x: (open(__import__("os").environ["RAN"], "w").close(), x)[1])
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    layers = [keras.layers.Rescaling(1 / 255), evil, keras.layers.Flatten()]
    task = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(6, name="f"), keras.layers.Dense(4)])
    layer = ma.LearnedAugment(np.full((14, 14), 1.0), policy_network=network, task=task)
    keras.Model(inputs, layer(inputs)).save(tmp_path / "augment.keras")
    config = json.loads(json.dumps(layer.get_config()))
    (tmp_path / "ran").unlink()
    with pytest.raises(ValueError, match="safe_mode"):
        keras.models.load_model(tmp_path / "augment.keras")
    with pytest.raises(ValueError, match="safe_mode"):
        ma.LearnedAugment.from_config(config)
    assert not (tmp_path / "ran").exists()
    keras.models.load_model(tmp_path / "augment.keras", safe_mode=False)
    assert (tmp_path / "ran").exists(), "it would have run"


def test_a_link_left_where_files_are_written_aside_is_not_followed(tmp_path):
    (tmp_path / "theirs").write_text("untouched")
    (tmp_path / f".part.{os.getpid()}.{threading.get_ident()}.config.json").symlink_to(tmp_path / "theirs")
    write_json(tmp_path / "config.json", {"a": 1})
    assert (tmp_path / "theirs").read_text() == "untouched"
    assert (
        json.loads((tmp_path / "config.json").read_text()) == {"a": 1} and not (tmp_path / "config.json").is_symlink()
    )


def test_a_link_left_where_folders_are_written_aside_is_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/file").write_text("untouched")
    (tmp_path / f".part.{os.getpid()}.{threading.get_ident()}.1").symlink_to(tmp_path / "theirs")
    with folder_written_aside(tmp_path / "1") as aside:
        (aside / "file").write_text("mine")
    assert (tmp_path / "theirs/file").read_text() == "untouched"
    assert (tmp_path / "1/file").read_text() == "mine" and not (tmp_path / "1").is_symlink()


BAD_CONFIGS = [
    ({"dataset": "huggingface:anything"}, "come with code"),
    ({"dataset": "mnist/data_dir=elsewhere"}, "not the name of a dataset"),
    ({"width": 10**9}, "from 1 to 32"),
    ({"model": "applications/../../x"}, "has no network"),
    ({"hook": "import os"}, "hook is not a setting"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS, ids=str)
def test_the_config_of_a_run_is_checked_before_it_is_evaluated(tmp_path, changes, message):
    small = {"train_per_class": 3, "validation_per_class": 1, "test_per_class": 1}
    write_json(tmp_path / "config.json", {**config_for("glyphs").to_dict(), **small, **changes})
    with pytest.raises(ma.UserError, match=message):
        commands.evaluate(tmp_path, None)


def test_the_report_reads_no_pickle_and_no_bomb(tmp_path):
    write_json(tmp_path / "config.json", {})
    path = tmp_path / "policy/observations.npz"
    path.parent.mkdir()
    np.savez(path, images=np.array([Bomb(tmp_path / "ran")], dtype=object))
    with pytest.raises(ma.UserError, match="only pickle"):
        write_report(tmp_path)
    assert not (tmp_path / "ran").exists()
    zip_of(path, **{"images.npy": header((2**40,))})
    with pytest.raises(ma.UserError, match="claims the shape"):
        write_report(tmp_path)
