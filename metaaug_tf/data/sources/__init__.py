"""Where labelled images come from: drawings made here, TensorFlow Datasets, or a folder.

Read first: `load.py`, the one door to all of them. To add a source, write its file and a branch there.
"""

from metaaug_tf.data.sources.load import load_dataset

__all__ = ["load_dataset"]
