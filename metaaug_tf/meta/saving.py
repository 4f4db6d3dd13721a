"""How Keras saves a MetaAugment model as a .keras file and makes it again from one."""

import keras


class SavedByKeras(keras.Model):
    """The part of MetaAugment that model.save and keras.models.load_model call.

    Attributes:
        compile_settings: the arguments of compile() that are not Keras's own, but the policy optimizer.
    """

    def get_config(self):
        """From which `from_config` makes the model again: both networks, the sampler, the layer of features."""
        parts = {"task": self.task, "policy_network": self.policy_network, "sampler": self.sampler}
        config = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**config, "feature_layer": self.feature_layer, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the model from `get_config`; Keras loads the weights afterwards."""
        return cls(**keras.saving.deserialize_keras_object(config, custom_objects=custom_objects))

    def get_compile_config(self):
        """From which `compile_from_config` compiles the model again."""
        config = super().get_compile_config()
        if not config:
            return config
        policy_optimizer = keras.saving.serialize_keras_object(self.policy_optimizer)
        return {**config, **self.compile_settings, "policy_optimizer": policy_optimizer}

    def compile_from_config(self, config):
        """compile() with what `get_compile_config` gave; builds both optimizers, so that their state can be loaded."""
        self.compile(**keras.saving.deserialize_keras_object(config))
