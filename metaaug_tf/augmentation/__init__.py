"""What is done to a training image: transformations drawn from seeds, applied, and described to the policy network.

Read first: `transform.py`, the record of a transformation (a pair of operations and two signed magnitudes) and how it
is drawn. `augment.py` puts the stages in order, `standard.py` has crop, flip and Cutout, `random.py` the random numbers
that depend on (seed, epoch, index of the example) alone.
"""
