"""Several processes that train together: who they are, how they meet, and what they say to each other.

Read first: `start.py`, which turns --distribution into a tf.distribute strategy. `cluster.py` reads TF_CONFIG,
`rendezvous.py` lets the workers meet before TensorFlow joins them, `collectives.py` exchanges values between them,
`workers.py` is what a run decides together with the others.
"""
