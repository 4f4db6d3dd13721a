"""ImageNet (ILSVRC 2012), ResNet-50 at 224 pixels; TFDS's builder, the images stay in its files.

The training recipe is that of Goyal et al. (arXiv 1706.02677) with a cosine instead of steps: random-resized crop,
flip, 90 epochs, learning rate 0.1 per 256 images, 5 epochs of warm-up, no decay of scales and biases. The 10,000
validation images, held out of the training set by index, are this project's choice; TFDS's `validation` split is
the test set. ResNet-200: --config.model=resnet_200

Command: python -m metaaug_tf.main --dataset=imagenet2012 --data_dir=DIR
Expected time: made for several GPUs; not measured. TFDS needs the two archives by hand: see --check_data.
Expected result: not measured by this project.
"""

from metaaug_tf.configs import default


def get_config():
    """The settings for ImageNet."""
    config = default.get_config()
    config.update(
        dataset="imagenet2012",
        stream=True,
        image_size=224,
        validation_examples=10_000,
        model="resnet_50",
        epochs=90,
        batch_size=256,
        validation_batch_size=256,
        learning_rate=0.1,
        weight_decay=1e-4,
        decay_scales_and_biases=False,
        warmup_epochs=5,
        padding=0,
        cutout=0,
    )
    return config
