"""SavedModels of the classifier, the policy and the augmentation, files for other runtimes, and a client.

Read first: `savedmodel.py`, how a version is written. `task.py`, `policy.py` and `augment.py` say what is in each; the
folder `server` answers requests over HTTP.
"""
