"""What is learned: the network that weighs augmented images, and the sampler that pairs of operations are drawn from.

Read first: `network.py`, then `sampler.py`. `choices.py` has what their settings may be, `folder.py` writes and reads
both, `table.py` reads the sampler's table without TensorFlow, `learned_augment.py` applies them in other code,
`show.py` prints them.
"""
