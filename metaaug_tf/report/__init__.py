"""The report of a run: one self-contained HTML page made from the run's folder, without TensorFlow.

Read first: `page.py`, which puts it together. `run.py` reads the folder, `measures.py` has the statistics,
`findings.py` the sentences; the other files draw.
"""
