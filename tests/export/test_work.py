"""The work of a request is read from the headers of its images, and is right for what Pillow writes."""

import io

import numpy as np
import pytest
from export_fixtures import png_header
from PIL import Image

from metaaug_tf.export.server.work import file_work, input_work


def written(kind, size=(30, 20), mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def test_pixels_of_pngs_and_jpegs():
    assert file_work(written("PNG")) == file_work(written("JPEG")) == 600
    assert file_work(written("JPEG", mode="L", restart_marker_rows=1)) == 600
    exif = Image.Exif()
    exif[0x010E] = "a description " * 100
    assert file_work(written("JPEG", exif=exif, comment=b"\xff\xc0 no frame", icc_profile=b"\xff\xc2" * 99)) == 600


def test_tables_before_the_frame_are_no_frame():
    table = b"\xff\xc4\0\x0b" + b"\1" * 9
    assert file_work(b"\xff\xd8" + table + b"\xff\xff" + written("JPEG")[3:]) == 600


def test_each_scan_of_a_jpeg_counts_a_third():
    file = written("JPEG", progressive=True)
    scans = sum(marker == b"\xff\xda" for marker in (file[at : at + 2] for at in range(len(file))))
    assert scans > 1 and file_work(file) == 600 * (2 + scans) // 3


def test_what_is_not_decoded_costs_nothing():
    jpeg = written("JPEG")
    for bytes_ in (b"", b"text", written("GIF"), jpeg[:30], b"\xff\xd8\xff" * 99, b"\xff\xd8\xff\xe0\0\0" * 99):
        assert file_work(bytes_) == 0
    assert file_work(png_header(4096, 4096)) == 2**24
    assert file_work(png_header(4096, 4097)) == file_work(png_header(4096, 4096)[:20]) == 0
    assert file_work(jpeg + b"\xff\xda" * 64) == 0


def test_work_of_inputs_by_example():
    files = np.array([written("PNG"), b"", written("JPEG", (8, 8))], object)
    assert input_work(files) == [600, 0, 64]
    assert input_work(np.zeros((2, 5, 7, 3), np.uint8)) == [35, 35]
    assert input_work(np.zeros((3, 9), np.float32)) == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_any_bytes_have_some_work(seed):
    random = np.random.default_rng(seed)
    for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        for _ in range(200):
            assert file_work(start + random.bytes(int(random.integers(0, 300)))) >= 0
