"""The method: a training step that updates the classifier and, by a second-order gradient, its augmentation policy.

Read first: `step.py`, one training step in the order of docs/method.md. `gradient.py` has the meta-gradient,
`forward.py` the pass that it shares with the update, `model.py` the Keras model around it.
"""
