"""Keras callbacks of a run, each usable with any MetaAugment model.

Read first: `run_logs.py`, which writes metrics.jsonl and sampler.json. `health_guard.py` stops a training that has gone
wrong, `policy_logger.py` shows the policy in TensorBoard, `averaging.py` keeps an average of the weights.
"""
