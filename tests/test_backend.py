"""The backend is chosen before keras is imported, in a stated order, and JAX never brings TensorFlow along."""

import json
import os
import platform

import pytest

from doubles import swap
from kit import backends
from kit.backends import choice
from kit.backends.choice import choose_backend, explain_choice
from kit.errors import BackendError

pytestmark = pytest.mark.backend

BACKEND = os.environ["KERAS_BACKEND"]  # conftest.py has settled it

BOTH = ("jax", "tensorflow")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets up what the choice depends on: KERAS_BACKEND, keras.json and what is installed; keras not imported yet."""

    def set_up(variable=None, keras_json=None, installed=BOTH):
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        monkeypatch.setenv("KERAS_BACKEND", variable or "")
        swap(monkeypatch, choice, "installed_backends", lambda: installed)
        swap(monkeypatch, choice, "running_backend", lambda: None)
        if keras_json is not None:
            (tmp_path / "keras.json").write_text(keras_json)

    return set_up


NAMES_JAX, NAMES_TF, NAMES_OTHER = (json.dumps({"backend": name}) for name in ("jax", "tensorflow", "openvino"))


@pytest.mark.parametrize(
    ("requested", "variable", "keras_json", "installed", "chosen"),
    [
        ("auto", None, None, BOTH, "jax"),
        ("auto", None, None, ("tensorflow",), "tensorflow"),
        ("auto", None, NAMES_TF, BOTH, "tensorflow"),
        ("auto", None, NAMES_TF, ("jax",), "jax"),  # Keras writes tensorflow there, whatever is installed
        ("auto", None, NAMES_OTHER, BOTH, "jax"),
        ("auto", None, "{broken", BOTH, "jax"),
        ("auto", None, "[]", BOTH, "jax"),
        ("auto", None, '{"backend": ["jax"]}', BOTH, "jax"),
        ("auto", "tensorflow", NAMES_JAX, BOTH, "tensorflow"),
        ("jax", "tensorflow", NAMES_TF, BOTH, "jax"),  # a flag wins
        ("tensorflow", "openvino", None, BOTH, "tensorflow"),
    ],
)
def test_order_of_choice(machine, monkeypatch, requested, variable, keras_json, installed, chosen):
    machine(variable, keras_json, installed)
    assert choose_backend(requested) == chosen
    assert os.environ["KERAS_BACKEND"] == (variable or "")


@pytest.mark.parametrize(
    ("requested", "variable", "installed", "told"),
    [
        ("openvino", None, BOTH, ["jax", "tensorflow", "torch", "'openvino'", "KERAS_BACKEND=jax"]),
        ("auto", "numpy", BOTH, ["KERAS_BACKEND", "jax", "tensorflow", "'numpy'"]),
        ("auto", "tensorflwo", ("tensorflow",), ["'tensorflwo'", "installed here: tensorflow"]),
        ("jax", None, ("tensorflow",), ["not installed; installed: tensorflow", "pip install 'jax>="]),
        ("auto", "tensorflow", ("jax",), ["KERAS_BACKEND", "pip install 'tensorflow>="]),
        ("auto", None, (), ["' or pip install 'tensorflow>="]),
        ("openvino", None, (), ["none is installed", "pip install 'jax>="]),
    ],
)
def test_what_cannot_be_chosen_is_one_message(machine, requested, variable, installed, told):
    machine(variable, None, installed)
    with pytest.raises(BackendError) as caught:
        choose_backend(requested)
    assert [words for words in told if words not in str(caught.value)] == []
    assert (os.environ["KERAS_BACKEND"] or None) == variable


def test_the_reason_for_the_choice_is_told(machine):
    machine(None, NAMES_TF)
    assert explain_choice("jax").why == "asked for"
    assert explain_choice().why.endswith("keras.json")


def test_a_backend_that_runs_already_is_kept_and_cannot_be_changed(monkeypatch):
    import keras

    assert keras.config.backend() == BACKEND
    monkeypatch.setenv("KERAS_BACKEND", "")
    assert choose_backend() == BACKEND
    other = next(name for name in BOTH if name != BACKEND)
    swap(monkeypatch, choice, "installed_backends", lambda: BOTH)
    with pytest.raises(BackendError, match=f"{other} was asked for, but Keras already runs on {BACKEND}"):
        choose_backend(other)


def test_start_seeds_and_may_be_called_again():
    import keras
    import numpy as np

    def draw(seed):
        assert backends.start(BACKEND, seed=seed) == BACKEND
        return np.concatenate([np.asarray(keras.random.normal((4,))), np.random.rand(2)])

    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


def test_choosing_imports_no_backend(run_python):
    code = """
import sys
from kit.backends.choice import choose_backend
choose_backend()
print(sorted({"keras", "jax", "tensorflow", "numpy"} & set(sys.modules)))
"""
    assert run_python("-c", code).stdout.strip() == "[]"


def test_start_describes_itself_quietly_and_leaves_no_keras_json(run_python, tmp_path):
    code = """
import json, sys
from kit import backends
backends.own_process()
backends.start(threads=1, seed=1)
import keras
print(json.dumps({**backends.describe(), "floatx": keras.config.floatx()}))
"""
    done = run_python("-c", code, env={"KERAS_HOME": tmp_path})
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["backend"], told["threads"], told["floatx"]) == (BACKEND, 1, "float32")
    assert told["device"] in ("cpu", "gpu", "tpu")
    assert told["device_name"]
    assert all(told[name] for name in ("transferkit", "keras", BACKEND, "numpy", "pillow", "python", "platform"))
    assert not (tmp_path / "keras.json").exists()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="oneDNN is TensorFlow's")
@pytest.mark.parametrize(("asked", "arithmetic"), [({}, "('onednn',)"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "()")])
def test_tensorflow_uses_onednn_on_every_cpu_unless_the_user_says_no(run_python, asked, arithmetic):
    code = """
import os
from kit import backends
backends.start()
print(backends.current().arithmetic(), os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""
    done = run_python("-c", code, env={"TF_ENABLE_ONEDNN_OPTS": None, **asked})
    assert done.stdout.strip() == f"{arithmetic} {asked.get('TF_ENABLE_ONEDNN_OPTS')}", done.stderr


@pytest.mark.skipif(BACKEND != "tensorflow", reason="oneDNN is TensorFlow's")
def test_a_tensorflow_that_was_imported_without_onednn_is_told(run_python):
    code = """
import tensorflow
from tensorflow.python.util import _pywrap_util_port as build
build.IsMklEnabled = lambda: False  # as on a CPU without AVX-512
from kit import backends
backends.start()
"""
    told = "TF_ENABLE_ONEDNN_OPTS=1 in the environment before `import tensorflow`"
    done = run_python("-c", code, env={"TF_ENABLE_ONEDNN_OPTS": None})
    assert (told in done.stderr) == (platform.machine().lower() in ("x86_64", "amd64")), done.stderr
    assert told not in run_python("-c", code, env={"TF_ENABLE_ONEDNN_OPTS": "0"}).stderr


def test_start_overrules_keras_json_and_leaves_it_as_it_is(run_python, tmp_path):
    theirs = json.dumps({"floatx": "float16", "image_data_format": "channels_first", "backend": "openvino"})
    (tmp_path / "keras.json").write_text(theirs)
    code = """
from kit import backends
backends.start()
import keras
print(keras.config.floatx(), keras.config.image_data_format())
"""
    done = run_python("-c", code, env={"KERAS_HOME": tmp_path})
    assert done.stdout.split() == ["float32", "channels_last"], done.stderr
    assert (tmp_path / "keras.json").read_text() == theirs


def test_a_broken_installation_is_one_message(run_python, tmp_path):
    (tmp_path / BACKEND).mkdir()
    (tmp_path / BACKEND / "__init__.py").write_text("raise OSError('libmissing.so: cannot open')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from kit import backends
from kit.errors import BackendError
try:
    backends.start({BACKEND!r})
except BackendError as error:
    print(error)
"""
    told = run_python("-c", code)
    assert "libmissing.so" in told.stdout, told.stderr
    assert "transferkit doctor" in told.stdout


@pytest.mark.skipif("jax" not in choice.installed_backends(), reason="JAX is not installed here")
@pytest.mark.full
def test_a_jax_run_never_imports_tensorflow(run_python, tmp_path):
    code = """
import sys
from kit import backends
backends.start("jax")
import keras, numpy as np
pixels, labels = np.zeros((2, 32, 32, 3), "float32"), np.eye(2, dtype="float32")
# Drawing random weights of 52 shapes would take JAX ten seconds.
keras.initializers.VarianceScaling.__call__ = lambda self, shape, dtype=None: np.full(shape, 0.01, "float32")
model = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=2)
before = model.predict(pixels, verbose=0)
model.save("model.keras")
assert np.array_equal(keras.saving.load_model("model.keras").predict_on_batch(pixels), before)
small = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
small.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
small.fit(pixels, labels, validation_data=(pixels, labels), verbose=0)
small.save_weights("small.weights.h5")
backends.describe()
print(sorted(name for name in sys.modules if name.partition(".")[0] == "tensorflow"))
"""
    done = run_python("-c", code, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
