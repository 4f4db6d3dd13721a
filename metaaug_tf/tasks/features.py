"""Finds the feature vector of a Keras classifier: what its last Dense layer reads."""

import keras

from metaaug_tf.errors import UserError

# Layers that may stand between the last Dense layer and the output without changing what the features are.
_AFTER_DENSE = (keras.layers.Activation, keras.layers.Softmax, keras.layers.ReLU, keras.layers.Identity)


def with_features(task: keras.Model, feature_layer: str | None = None) -> keras.Model:
    """A view of `task` that returns its prediction and its feature vector from one forward pass.

    Args:
        task: functional or built Sequential classifier with one input and one output.
        feature_layer: name of the layer whose output is the feature vector; by default the input of the last
            Dense layer (phi in the method). Spatial axes are averaged.

    Returns:
        Model images -> [predictions [B, classes], features [B, F]] that shares every variable with `task`.

    Raises:
        UserError: the model has no layer graph, several inputs or outputs, or no Dense layer at its end.
    """
    _check_functional(task)
    features = _named_output(task, feature_layer) if feature_layer else _last_dense(task).input
    if len(features.shape) > 2:
        axes = tuple(range(1, len(features.shape) - 1))
        features = keras.ops.mean(features, axis=axes)
    return keras.Model(task.inputs[0], [task.outputs[0], features], name=f"{task.name}_with_features")


def _check_functional(task: keras.Model) -> None:
    try:
        inputs, outputs = task.inputs, task.outputs
    except (AttributeError, ValueError):
        inputs, outputs = None, None
    if not inputs or not outputs:
        raise UserError(
            f"the task model {task.name!r} has no layer graph, so no feature vector can be found in it; "
            "build it as a functional model: keras.Model(inputs, outputs), or call a Sequential model on an "
            "input first"
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"the task model {task.name!r} has {len(inputs)} inputs and {len(outputs)} outputs; "
            "a classifier with one image input and one output is needed"
        )


def _last_dense(task: keras.Model) -> keras.layers.Dense:
    layer = task.outputs[0]._keras_history.operation
    while isinstance(layer, _AFTER_DENSE):
        layer = layer.input._keras_history.operation
    if not isinstance(layer, keras.layers.Dense):
        names = ", ".join(layer.name for layer in task.layers[-5:])
        raise UserError(
            f"the last layer of the task model {task.name!r} is {layer.name!r} ({type(layer).__name__}), not Dense; "
            f"name the layer whose output is the feature vector: feature_layer=... (the last ones are {names})"
        )
    return layer


def _named_output(task: keras.Model, name: str):
    try:
        return task.get_layer(name).output
    except ValueError as error:
        names = ", ".join(layer.name for layer in task.layers[-8:])
        raise UserError(f"the task model {task.name!r} has no layer {name!r}; its last layers are {names}") from error


def last_block_variables(task: keras.Model, weighted_layers: int = 3) -> list[keras.Variable]:
    """Trainable variables of the network's end: its last layers with a kernel, and what stands between them.

    Args:
        task: functional model, layers in the order of computation.
        weighted_layers: how many layers with a kernel the end has; 3 are a residual block of two convolutions
            and the Dense layer.
    """
    with_kernel = [i for i, layer in enumerate(task.layers) if getattr(layer, "kernel", None) is not None]
    first = with_kernel[-weighted_layers:][0] if with_kernel else 0
    return [variable for layer in task.layers[first:] for variable in layer.trainable_variables]
