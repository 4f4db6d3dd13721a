"""Classifiers: the networks of the papers, those of keras.applications, and where a classifier's features are.

Read first: `registry.py`, a row for each network. To add one, write its file and a row.
"""
