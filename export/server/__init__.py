"""A server for exports on TensorFlow Serving's REST protocol, for machines without TensorFlow Serving.

Read first: `app.py`, the paths. `rest.py` turns requests into tensors, `served_model.py` runs the model, `batcher.py`
joins requests that wait.
"""
