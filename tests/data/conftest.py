"""The small streamed datasets, for all tests of this folder."""

from streamed_photos import builders, load

__all__ = ["builders", "load"]
