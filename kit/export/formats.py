"""Table of export formats. A new one is an entry here, a writer and a runtime."""

from dataclasses import dataclass
from importlib.util import find_spec

from kit.errors import ConfigError, ExportError
from kit.machine import install_command

FLOAT32, FLOAT16, INT8 = PRECISIONS = ("float32", "float16", "int8")
ALLOWED_LOSS = 0.01  # of accuracy, of smaller numbers than float32
TOLERANCE = 1e-4  # greatest difference of a probability, of formats that keep the weights' 32 bits
# Greatest difference of a strangeness, of which 1 is usual, by precision; beyond 1 it is a share of the original's.
STRANGENESS_TOLERANCE = {FLOAT32: 1e-3, FLOAT16: 0.1, INT8: 0.5}
PROBABILITIES, STRANGENESS = OUTPUTS = ("probabilities", "strangeness")  # names, where a model has both


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        name: As `--format` takes it.
        model: The model in the export's folder: a file, a folder, or `.` where it is the folder itself.
        needs: Modules that writing and running it import.
        extra: The extra of pyproject.toml that installs them; may be empty.
        writer: The backend that can write it; empty where every one can.
        library: Its name on Hugging Face (https://huggingface.co/docs/hub/models-libraries).
        packages: What its user installs, beside NumPy and Pillow.
        usage: Code of the example: imports, loading, and one image's probabilities; None where no Python runs it.
        tolerance: Greatest difference of a probability from the original's.
        precisions: Of the numbers inside that it can be written in; `float32` is the original's.
        both: Code of the example that gives a dictionary of both OUTPUTS; empty where there is none.
        strange: Whether it has a place for a strangeness.
    """

    name: str
    model: str
    needs: tuple[str, ...]
    extra: str
    writer: str
    library: str
    packages: str
    usage: tuple[str, str, str] | None
    tolerance: float = TOLERANCE
    precisions: tuple[str, ...] = (FLOAT32,)
    both: str = ""
    strange: bool = True


FORMATS = (
    Format(
        name="keras",
        model="model.keras",
        needs=(),
        extra="",
        writer="",
        library="keras",
        packages="keras jax",
        usage=(
            'import os\nos.environ.setdefault("KERAS_BACKEND", "jax")  # else TensorFlow\nimport keras',
            'model = keras.saving.load_model("model.keras")',
            "model.predict(pixels, verbose=0)[0]",
        ),
        both="model.predict(pixels, verbose=0)",
    ),
    Format(
        name="saved_model",
        model="model",
        needs=("tensorflow",),
        extra="tensorflow",
        writer="tensorflow",
        library="tf-keras",
        packages="tensorflow",
        usage=(
            "import tensorflow as tf",
            'model = tf.saved_model.load("model")',
            "model.serve(pixels).numpy()[0]",
        ),
        both="{name: found.numpy() for name, found in model.serve(pixels).items()}",
    ),
    Format(
        name="onnx",
        model="model.onnx",
        needs=("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
        extra="export",
        writer="tensorflow",
        library="onnx",
        packages="onnxruntime",
        usage=(
            "import onnxruntime",
            'model = onnxruntime.InferenceSession("model.onnx")',
            'model.run(None, {"pixels": pixels})[0][0]',
        ),
        precisions=PRECISIONS,
        both='dict(zip(["probabilities", "strangeness"], model.run(None, {"pixels": pixels})))',
    ),
    Format(
        name="litert",
        model="model.tflite",
        needs=("tensorflow", "ai_edge_litert"),
        extra="export",
        writer="tensorflow",
        library="tflite",
        packages="ai-edge-litert",
        usage=(
            "from ai_edge_litert.interpreter import Interpreter",
            'model = Interpreter("model.tflite").get_signature_runner()',
            'model(pixels=pixels)["output_0"][0]',
        ),
        precisions=PRECISIONS,
        both="model(pixels=pixels)",
    ),
    Format(
        name="openvino",
        model="model.xml",
        needs=("tensorflow", "openvino", "nncf"),
        extra="openvino",
        writer="tensorflow",
        library="openvino",
        packages="openvino",
        usage=(
            "import openvino",
            'model = openvino.compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
            "model(pixels)[0][0]",
        ),
        precisions=PRECISIONS,
        both="model(pixels)",
    ),
    Format(
        name="keras-hub",
        model=".",
        needs=("keras_hub", "tensorflow"),
        extra="hub",
        writer="",
        library="keras-hub",
        packages="keras-hub",
        usage=(
            "import keras_hub",
            'model = keras_hub.models.ImageClassifier.from_preset("./")',
            "model.predict(pixels, verbose=0)[0]",
        ),
        strange=False,
    ),
    Format(
        name="web",
        model="model.html",
        needs=("tensorflow", "playwright"),
        extra="web",
        writer="tensorflow",
        library="",
        packages="",
        usage=None,
        tolerance=1e-3,  # a browser's arithmetic is not that of the others
    ),
)


# What some formats are called elsewhere.
ALIASES = {"tflite": "litert", "savedmodel": "saved_model", "keras_hub": "keras-hub"}


def find_format(name: str) -> Format:
    """Format of a name, or of one that it goes by elsewhere; ConfigError if there is none."""
    found = next((one for one in FORMATS if one.name == ALIASES.get(name, name)), None)
    if found is None:
        raise ConfigError(f"--format must be one of {', '.join(one.name for one in FORMATS)}, not {name!r}.")
    return found


def no_strangeness(chosen: Format, precision: str, folds: bool) -> str:
    """Why a model has no output `strangeness`, as a clause; empty where it has one.

    `folds`: whether the run is cross-validated.
    """
    if not chosen.strange:
        return f"the format {chosen.name} has probabilities alone"
    if (chosen.name, precision) == ("litert", INT8):
        return "LiteRT's int8 are too coarse: no image would be stranger than another"
    if precision != FLOAT32 and folds:
        return f"{precision} moves it, and a cross-validated run has no images to choose its threshold anew on"
    return ""


def require_installed(chosen: Format) -> None:
    """Raise ExportError if a module that the format needs is missing; the hint installs it."""
    missing = [name for name in chosen.needs if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"The format {chosen.name} needs {' and '.join(missing)}, not installed here.",
            f"Install it: {install_command(chosen.extra)}",
        )
