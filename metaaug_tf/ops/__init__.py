"""The 14 image operations, bit-equal to Pillow's, and the compiled dispatcher that applies pairs of them.

Read first: `table.py`, a row for each operation. To add one, write a function in `tone.py`, `enhance.py` or
`geometry.py`, and a row. `dispatch.py` applies them to batches.
"""

from metaaug_tf.ops.dispatch import apply_operation, apply_pairs
from metaaug_tf.ops.table import MAX_MAGNITUDE, OPERATIONS, TABLE, Operation

__all__ = ["MAX_MAGNITUDE", "OPERATIONS", "TABLE", "Operation", "apply_operation", "apply_pairs"]
