"""The run report: one self-contained HTML page made from a run folder, without TensorFlow."""

from metaaug_tf.report.page import write_report

__all__ = ["write_report"]
