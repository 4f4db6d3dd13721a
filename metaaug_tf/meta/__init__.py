"""The method: a training step that updates the classifier and, by a second-order gradient, its augmentation policy.

Read first: `step.py`, one training step in the order of docs/method.md. `forward.py` has the pass that all of a step
shares, `weights.py` step 2, `gradient.py` steps 3 and 4, `choices.py` the settings and the names that they may have.
`model.py` is the Keras model around the step, `loop.py` how its fit calls it, `replicas.py` what a step does across the
replicas of a tf.distribute strategy.
"""
