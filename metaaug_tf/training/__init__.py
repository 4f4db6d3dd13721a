"""A run of the command line from its settings to its report.

Read first: `train.py`, the steps of a run in order. `build.py` makes the model, `finish.py` what a trained run leaves
behind, `commands.py` what is done with a finished run.
"""
