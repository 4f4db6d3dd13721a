"""TFRecord files are looked over before TensorFlow's reader, which a false length can crash."""

import struct

import numpy as np
import pytest
import tensorflow as tf

import metaaug_tf as ma
from metaaug_tf.data.sources.records import check_records, record_fault


@pytest.fixture
def path(tmp_path):
    """A file of three records, written by TensorFlow."""
    with tf.io.TFRecordWriter(str(tmp_path / "three.tfrecord")) as writer:
        for content in (b"one", b"", b"three" * 100):
            writer.write(content)
    return tmp_path / "three.tfrecord"


def test_whole_files_pass(path, tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    check_records([path, tmp_path / "empty.tfrecord"])


@pytest.mark.parametrize("length", [2**62, 2**40, 2**33, 600, 2**64 - 1])
@pytest.mark.parametrize("index", [0, 2])
def test_a_record_that_claims_more_than_there_is_is_named(path, length, index):
    content = bytearray(path.read_bytes())
    start = [0, 12 + 3 + 4, 12 + 3 + 4 + 12 + 4][index]
    content[start : start + 8] = struct.pack("<Q", length)
    path.write_bytes(content)
    with pytest.raises(ma.UserError, match=rf"record {index} \(from 0\) claims {length} bytes"):
        check_records([path])


@pytest.mark.parametrize("cut", np.arange(1, 12))
def test_a_file_that_ends_within_a_header_is_named(path, cut):
    path.write_bytes(path.read_bytes()[: 12 + 3 + 4 + cut])
    assert record_fault(path) == "it ends within record 1 (from 0)"
