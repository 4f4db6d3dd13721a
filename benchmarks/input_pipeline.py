"""What feeding ImageNet costs: images per second and core through reading, cropping, two operations and batching.

    python benchmarks/input_pipeline.py [--images 2048] [--batch 128] [--repeats 5]

Makes a stand-in for ImageNet: 128 JPEG files of 500 x 375 pixels, of about the mean size of ImageNet's training files
(115 kB), written into TFRecords by a TFDS builder as ImageNet's are, each several times over. Then it goes through
epochs of the training pipeline that the config of imagenet2012 gives, cut off after each of its parts in turn, and
counts the process's CPU time, which other processes do not add to: a core's second is a second of one core that does
nothing else. "served" is the whole pipeline made by a tf.data service in another process: what is counted is the CPU
time of this one.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import metaaug_tf as ma
from metaaug_tf.config import config_for
from metaaug_tf.data.sources import load_dataset
from metaaug_tf.data.sources import tfds_streamed as stream_source
from metaaug_tf.settings import Augmentation

WIDTH, HEIGHT, CLASSES = 500, 375, 1000
DISTINCT, VALIDATION = 128, 64
CORES = len(os.sched_getaffinity(0))


def photo_like(random):
    """Smooth random colours with finer and finer detail and some noise, uint8 [HEIGHT, WIDTH, 3]."""
    image = np.full((HEIGHT, WIDTH, 3), 128.0)
    for cells, levels in ((4, 70), (16, 35), (64, 18), (200, 9)):
        grid = random.uniform(-levels, levels, (cells * 3 // 4, cells, 3))
        planes = (Image.fromarray(grid[..., channel].astype(np.float32)) for channel in range(3))
        image += np.stack([plane.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for plane in planes], axis=-1)
    return np.clip(image + random.normal(0, 11, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)


def write_photos(folder, count):
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(photo_like(random)).save(folder / f"{number}.jpg", quality=95)
    return sorted(folder.iterdir())


def builder_of(files):
    class StandIn(tfds.core.GeneratorBasedBuilder):
        """The files as TFDS keeps ImageNet's."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(num_classes=CLASSES),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(files), "validation": self._generate_examples(files[:16])}

        def _generate_examples(self, files):
            for number, file in enumerate(files):
                yield number, {"image": str(file), "label": number % CLASSES}

    return StandIn


def stand_in(folder, count):
    """The Dataset of the stand-in, streamed, and the mean size of its files in bytes."""
    (folder / "photos").mkdir()
    files = write_photos(folder / "photos", DISTINCT)
    repeated = [files[number % DISTINCT] for number in range(count + VALIDATION)]
    builder = builder_of(repeated)(data_dir=folder)
    tfds.disable_progress_bar()
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=16))
    stream_source.prepared_builder = lambda name, data_dir: builder
    config = config_for("imagenet2012").to_dict() | {"dataset": "stand_in", "validation_examples": VALIDATION}
    return load_dataset(config, None), config, np.mean([file.stat().st_size for file in files])


def stages(data, config, batch, service):
    """{name: dataset of one epoch}, each doing what the one before it does and something more."""
    steps, epoch = len(data.train) // batch, tf.constant(0, tf.int64)
    order = data.train.order(0, epoch, steps, batch)

    def cropped(load):
        return order.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)

    def whole(_, records):
        """Decoding everything and cropping then, for comparison, without resizing."""
        return tf.map_fn(
            lambda record: tf.image.random_crop(tf.io.decode_jpeg(data.train._parse(record)[0]), [224, 224, 3]),
            records,
            fn_output_signature=tf.uint8,
        )

    def training(**changes):
        return ma.training_dataset(
            data.train,
            data.validation,
            ma.PairSampler(),
            batch_size=batch,
            validation_batch_size=batch,
            augmentation=Augmentation.of({**config, **changes}),
            data_service=changes.get("data_service", ""),
        )

    return {
        "read, shuffled": order.prefetch(2),
        "+ part decoded, 224 x 224": cropped(lambda *batch: data.train.load(batch, 1, 0, epoch)),
        "+ flip": training(policy="none"),
        "+ two operations: all of it": training(),
        "served: all of it": training(data_service=service),
        "whole image decoded, not resized": cropped(whole),
    }


def go_through(dataset):
    """CPU seconds, seconds, and seconds to the first batch of one epoch."""
    cpu, wall, first = time.process_time(), time.monotonic(), None
    for _ in dataset:
        first = first or time.monotonic() - wall
    return time.process_time() - cpu, time.monotonic() - wall, first


def measure(datasets, repeats):
    """{name: [repeats, 3] what go_through gives}, in turn, after an epoch each that compiles."""
    for dataset in datasets.values():
        go_through(dataset)
    rounds = [[go_through(dataset) for dataset in datasets.values()] for _ in range(repeats)]
    return dict(zip(datasets, np.array(rounds).transpose(1, 0, 2), strict=True))


def start_service():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "metaaug_tf.data.service", "--address", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # it serves
    return process, address


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    process, address = start_service()
    try:
        with tempfile.TemporaryDirectory() as folder:
            data, config, size = stand_in(Path(folder), arguments.images)
            images = len(data.train) // arguments.batch * arguments.batch
            results = measure(stages(data, config, arguments.batch, address), arguments.repeats)
    finally:
        process.terminate()
    print(f"{WIDTH} x {HEIGHT} JPEG of {size / 1000:.0f} kB on average; {images} images an epoch; cores: {CORES}")
    print(
        f"{'':34}{'us of a core':>13}{'quartiles':>15}{'images/s, core':>15}{'images/s, here':>15}{'first batch':>12}"
    )
    for name, (cpu, wall, first) in ((name, times.T) for name, times in results.items()):
        low, middle, high = np.quantile(cpu / images, [0.25, 0.5, 0.75]) * 1e6
        rates = f"{1e6 / middle:15.0f}{images / np.median(wall):15.0f}{np.median(first):10.1f} s"
        print(f"{name:34}{middle:13.0f}{low:8.0f} -{high:5.0f}{rates}")


if __name__ == "__main__":
    main()
