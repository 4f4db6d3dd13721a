"""Several processes that train together: who they are, how they meet, and what they say to each other.

Read first: `start.py`, which turns --distribution into a tf.distribute strategy. `cluster.py` reads TF_CONFIG,
`rendezvous.py` brings the workers together before TensorFlow joins them, in the lines of `wire.py`; from then on
`collectives.py` exchanges values between them, and `workers.py` is what they decide together.
"""
