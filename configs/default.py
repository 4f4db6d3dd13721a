"""Settings of a run on any TFDS image-classification dataset; every other config starts from these.

Command: python -m metaaug_tf.main --dataset=NAME --data_dir=DIR
Expected time and result: they depend on the dataset; nothing here is tuned to one.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The settings, flat; metaaug_tf/config.py holds the allowed ranges."""
    return ConfigDict(
        {
            "dataset": "",
            "policy": "metaaugment",
            "seed": 0,
            "epochs": 100,
            "batch_size": 128,
            "validation_batch_size": 128,
            # Data: 0 means "not used"; image_size 0 leaves the images as they are.
            "split": "",
            "stream": False,  # leave the images of a TFDS dataset of JPEGs in its files; random-resized crop
            "image_size": 32,
            "channels": 3,
            "train_examples": 0,
            "validation_examples": 1000,
            "validation_fraction": 0.0,
            "test_fraction": 0.2,
            "train_per_class": 0,
            "validation_per_class": 0,
            "test_per_class": 0,
            "skip_corrupt": False,
            "families": "shape,hue,angle",  # of glyphs
            # For fair comparisons and experiments.
            "train_on_validation": False,
            "label_noise": 0.0,
            # Augmentation: pixels and grey levels.
            "padding": 4,
            "flip": True,
            "cutout": 0,
            "fill": 128,
            "randaugment_magnitude": 9.0,
            # Task network; depth is of wide_resnet, width of conv_net too; the next three of applications/NAME.
            "model": "wide_resnet",
            "depth": 16,
            "width": 2,
            "network_image_size": 0,  # images are resized inside the model; 0 leaves them
            "pretrained": False,
            "freeze_backbone": False,
            "synchronise_batch_norm": False,  # statistics over all replicas instead of each for itself
            "dtype": "float32",
            # Task optimizer: SGD, cosine after a linear warm-up. weight_decay is the L2 factor of the papers.
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "decay_scales_and_biases": True,
            "warmup_epochs": 1,
            # Off unless a protocol has them: 0, 0, 1.
            "label_smoothing": 0.0,
            "ema_momentum": 0.0,  # of an average of the weights, which is then what is evaluated and exported
            "transforms_per_sample": 1,  # how often each image is in a batch, each time augmented anew
            # Policy.
            "policy_head": "contrast",
            "policy_hidden_units": 100,
            "policy_learning_rate": 3e-3,
            "meta_gradient": "exact",
            "meta_every": 1,
            "policy_warmup_fraction": 0.2,  # of all training steps: the policy is not updated in them
            "normalise_weights": True,
            "weighting": "learned",  # equal, shuffled: for comparison, the weights do not count in training
            "sampler_epsilon": 0.1,
            "sampler_identity_odds": 1.0,
            "sampler_history_epochs": 5,
            # Run. The settings of checkpoints and data_service may change when a run goes on.
            "data_service": "",  # HOST:PORT,HOST2:PORT of tf.data services that make the batches (data/service.py)
            "checkpoint_minutes": 10.0,  # 0: after every step
            "checkpoints_kept": 3,
            "jit_compile": "auto",
            "measure_step_ratio": False,
        }
    )
