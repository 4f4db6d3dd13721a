"""The 14 image operations, bit-equal to Pillow's, and the compiled dispatcher that applies pairs of them."""

from metaaug_tf.ops.dispatch import apply_operation, apply_pairs
from metaaug_tf.ops.table import MAX_MAGNITUDE, OPERATIONS, TABLE, Operation

__all__ = ["MAX_MAGNITUDE", "OPERATIONS", "TABLE", "Operation", "apply_operation", "apply_pairs"]
