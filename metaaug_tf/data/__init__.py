"""From labelled images to batches: the input pipelines, each a pure function of (seed, epoch, position).

Read first: `training_dataset.py`, the batches that MetaAugment.fit takes. `examples.py` holds images in memory,
`streamed_examples.py` leaves them in their files, `splits.py` cuts the training, validation and test sets, and the
folder `sources` finds the images.
"""
