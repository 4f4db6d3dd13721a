"""The embedded dataset: strokes told apart by shape, discs by colour, bars by angle; needs no download.

Command: python -m metaaug_tf.main --dataset=glyphs --workdir=runs/demo   (what `make demo` calls)
Expected time: 2.5 minutes on 2 cores, 4 to 6 with other work beside it.
Expected result: test accuracy 0.89 (seed 0).
"""

from metaaug_tf.configs import default


def get_config():
    """The settings of `make demo`."""
    config = default.get_config()
    config.update(
        dataset="glyphs",
        epochs=40,
        batch_size=64,
        validation_batch_size=64,
        model="conv_net",
        width=1,
        padding=0,  # drawings are shifted as it is, and a grey border would tell what colour an image had
        flip=False,  # mirrored characters and angles are other classes
        validation_examples=0,
        measure_step_ratio=True,
    )
    return config
