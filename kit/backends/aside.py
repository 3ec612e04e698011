"""TensorFlow, kept out of processes of the other backends."""

import sys
from contextlib import ExitStack


def keep_tensorflow_out(undo: ExitStack) -> None:
    """Tell Keras that there is no TensorFlow; an explicit import of it still works.

    Saving a model and seeding ask `tf.available` (keras/src/saving/serialization_lib.py, keras/src/utils/rng_utils.py),
    which imports TensorFlow wherever installed: seconds, memory, and a second thread pool.
    """
    from keras.src.utils import module_utils

    if "tensorflow" not in sys.modules and hasattr(module_utils.tensorflow, "_available"):
        undo.callback(setattr, module_utils.tensorflow, "_available", module_utils.tensorflow._available)
        module_utils.tensorflow._available = False
