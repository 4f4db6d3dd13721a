"""Settings of a dataset, one file each: what differs from the defaults, and what it costs and gives.

Read first: `glyphs.py`, which `make demo` runs. To add a dataset, add a file; other TFDS datasets take `default.py`.
"""
