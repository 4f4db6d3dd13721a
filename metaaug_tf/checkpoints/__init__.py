"""Everything a training needs to resume at the very step, and the fit that does so.

Read first: `callback.py`, which decides when a checkpoint is written and restores the newest one. `folder.py` has the
files, `model_state.py` and `callback_state.py` what is in them, `resume.py` the training that continues from there.
"""
