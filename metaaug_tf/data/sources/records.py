"""TFRecord files looked over before TensorFlow's reader, which trusts the lengths in them, gets to see them."""

import struct
from collections.abc import Iterable
from pathlib import Path

from metaaug_tf.errors import UserError
from metaaug_tf.names import printable

# A record is its length as uint64, a checksum of that, the content, and a checksum of it, each checksum 4 bytes
# (https://www.tensorflow.org/tutorials/load_data/tfrecord).
_HEADER, _FOOTER = 12, 4


def check_records(files: Iterable[Path]) -> None:
    """Rejects TFRecord files with a record that claims more bytes than follow; reads the lengths alone.

    Raises:
        UserError: names the file and the record.
    """
    for path in files:
        if fault := record_fault(path):
            raise UserError(
                f"{printable(path)} is damaged: {fault}. Prepare the dataset again, or give another --data_dir"
            )


def record_fault(path: Path) -> str:
    """What is wrong with the lengths in a TFRecord file; "" where nothing is, or where it can't be read at all."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            position, index = 0, 0
            while position < size:
                file.seek(position)
                header = file.read(_HEADER)
                if len(header) < _HEADER:
                    return f"it ends within record {index} (from 0)"
                (length,) = struct.unpack_from("<Q", header)
                position += _HEADER + length + _FOOTER
                if position > size:
                    return f"record {index} (from 0) claims {length} bytes, more than the file has left"
                index += 1
    except OSError:
        return ""  # the reader will say so
    return ""
