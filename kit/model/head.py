"""Classification head: pooled features to class probabilities."""

import keras


def build_head(features: int, classes: int, units: int, dropout: float, seed: int) -> keras.Model:
    """Dense(units, relu) → dropout → Dense(classes, softmax), float32 (batch, features) to (batch, classes).

    Args:
        units: 0 leaves the hidden layer out.
        dropout: Share of hidden outputs dropped while training; 0 leaves the layer out.
        seed: Draws initial weights and dropout; differs between backends.
    """
    pooled = keras.Input((features,), name="pooled")
    outputs = pooled
    if units:
        outputs = keras.layers.Dense(
            units, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed), name="hidden"
        )(outputs)
    if dropout:
        outputs = keras.layers.Dropout(dropout, seed=seed, name="dropout")(outputs)
    outputs = keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed + 1),
        name="probabilities",
    )(outputs)
    return keras.Model(pooled, outputs, name="head")
