"""The programs of docs/deployment.md, as they stand there, against a run's own exports."""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_files import make_images
from kit.data.images import decode
from kit.export import export_run

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


def program(heading: str, language: str = "python") -> str:
    """The program under a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture(scope="module")
def handed_over(run, tmp_path_factory):
    """Folders of the run's exports by format, each with an image in it."""
    for needed in ("tensorflow", "tf2onnx", "onnxruntime", "ai_edge_litert"):
        if find_spec(needed) is None:
            pytest.skip(f"the programs need {needed}")
    place = tmp_path_factory.mktemp("handed-over")
    image = make_images(place / "images", ("red",), 1, seed=3) / "red/0000.jpg"
    for name in ("onnx", "litert"):
        export_run(run, name, place / name)
        shutil.copy(image, place / name / "photo.jpg")
    return place


@pytest.fixture
def expected(run, handed_over):
    return run.predict(str(handed_over / "onnx/photo.jpg"))


def ask(address: str, body: bytes) -> dict:
    with urllib.request.urlopen(address, body, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def serving(folder: Path):
    """Runs serve.py by uvicorn in `folder`; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "serve:app", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": ""})
    try:
        for _ in range(300):
            assert server.poll() is None, "the server ended"
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/classify"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_the_web_service_answers_as_the_run_does_and_refuses_what_is_no_image(handed_over, expected):
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        pytest.skip("the web service needs fastapi and uvicorn")
    folder = handed_over / "onnx"
    (folder / "serve.py").write_text(program("FastAPI"), encoding="utf-8")
    with serving(folder) as address:
        answer = ask(address, (folder / "photo.jpg").read_bytes())
        refused = []
        for body in (b"no image", b"", bytes(20_000_001)):
            with pytest.raises(urllib.error.HTTPError) as error:
                ask(address, body)
            refused.append(error.value.code)
            error.value.close()
    assert answer["label"] == expected.label
    np.testing.assert_allclose(list(answer["probabilities"].values()), expected.probabilities, atol=1e-4)
    assert refused == [415, 415, 413]


def run_program(code: str, folder: Path) -> tuple[float, str]:
    """Runs a program of the page in `folder`; returns what it prints: confidence and class."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout)


def test_the_program_of_a_telephone_answers_as_the_run_does(handed_over, expected):
    confidence, label = run_program(program("Browser and telephone"), handed_over / "litert")
    assert label == expected.label
    assert confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_a_program_in_node_answers_as_the_run_does_unsure_too(run, handed_over, images, tmp_path):
    """The same pixels: the same probabilities. Larger ones are scaled by another library: nearly."""
    if not (packages := os.environ.get("NODE_RUNTIME")):
        pytest.skip("the program in Node.js needs NODE_RUNTIME, the folder that holds its node_modules")
    files = [file for folder in sorted(images.iterdir()) for file in sorted(folder.iterdir())[:4]]
    same = [tmp_path / f"{place}.png" for place in range(len(files))]
    for file, small in zip(files, same, strict=True):
        Image.fromarray(decode(file, run.config.data)).save(small)
    expected = run.predict([str(file) for file in (*same, *files)])
    below, above = sorted(one.confidence for one in expected[: len(same)])[5:7]
    threshold = (below + above) / 2

    folder = handed_over / "node"
    export_run(run, "onnx", folder, threshold=threshold)
    (folder / "classify.mjs").write_text(program("Node.js", "js"), encoding="utf-8")
    (folder / "node_modules").symlink_to(Path(packages) / "node_modules")
    done = subprocess.run(
        ["node", "classify.mjs", *same, *files], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for place, (one, answer) in enumerate(zip(told, expected, strict=True)):
        allowed = 1e-4 if place < len(same) else 0.05
        np.testing.assert_allclose(one["probabilities"], answer.probabilities, atol=allowed)
    answers = [one["answer"] for one in told[: len(same)]]
    assert answers == [one.answer(threshold) for one in expected[: len(same)]]
    assert answers.count("unsure") == 6


@pytest.fixture(scope="module")
def three(handed_over, judged, unsure_images, tmp_path_factory):
    """Of a run with both thresholds: folders of exports by format, and by each answer an image of the model's size."""
    place = tmp_path_factory.mktemp("three")
    noise = place / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(noise)
    files = {one.answer(): one.path for one in judged.predict([*sorted(unsure_images.rglob("*.jpg")), noise])}
    images = {}
    for answer in ("red", "unsure", "unlike"):
        images[answer] = place / f"{answer}.png"
        Image.fromarray(decode(Path(files[answer]), judged.config.data)).save(images[answer])
    for name in ("onnx", "litert"):
        export_run(judged, name, place / name)
    return place, images


def require_three_answers(told: list[dict], judged, images) -> None:
    assert [one["answer"] for one in told] == list(images)
    expected = judged.predict([str(file) for file in images.values()])
    np.testing.assert_allclose([one["strangeness"] for one in told], [one.strangeness for one in expected], atol=1e-3)


def test_the_web_service_says_unsure_and_unlike_as_predict_does(three, judged):
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        pytest.skip("the web service needs fastapi and uvicorn")
    place, images = three
    (place / "onnx" / "serve.py").write_text(program("FastAPI"), encoding="utf-8")
    with serving(place / "onnx") as address:
        told = [ask(address, file.read_bytes()) for file in images.values()]
    require_three_answers(told, judged, images)


def test_the_program_in_node_says_unsure_and_unlike_as_predict_does(three, judged):
    if not (packages := os.environ.get("NODE_RUNTIME")):
        pytest.skip("the program in Node.js needs NODE_RUNTIME, the folder that holds its node_modules")
    place, images = three
    (place / "onnx" / "classify.mjs").write_text(program("Node.js", "js"), encoding="utf-8")
    (place / "onnx" / "node_modules").symlink_to(Path(packages) / "node_modules")
    done = subprocess.run(
        ["node", "classify.mjs", *images.values()], cwd=place / "onnx", capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    require_three_answers([json.loads(line) for line in done.stdout.splitlines()], judged, images)


def test_the_program_of_a_telephone_says_unsure_and_unlike(three):
    place, images = three
    for answer, file in images.items():
        shutil.copy(file, place / "litert" / "photo.jpg")
        assert run_program(program("Browser and telephone"), place / "litert")[1] == answer


class _ModelServer(BaseHTTPRequestHandler):
    """The two requests of the page, read as their protocols say, answered by the exported model."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/models/photos:predict":  # TensorFlow Serving's REST API
            answer = {"predictions": self._answer(np.array(asked["instances"])).tolist()}
        else:  # the inference protocol of KServe, version 2, which Triton speaks
            assert self.path == "/v2/models/photos/infer"
            (tensor,) = asked["inputs"]
            assert (tensor["name"], tensor["datatype"]) == ("pixels", "UINT8")
            given = self._answer(np.array(tensor["data"]).reshape(tensor["shape"]))
            answer = {"outputs": [{"name": "probabilities", "shape": given.shape, "data": given.ravel().tolist()}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        return self.server.model.run(None, {"pixels": pixels.astype(np.uint8)})[0]

    def log_message(self, *_) -> None:
        pass


@pytest.mark.parametrize("heading", ["TensorFlow Serving", "Triton"])
def test_a_client_of_a_model_server_gets_what_the_run_says(heading, handed_over, expected):
    """The server is a double of the documented request and answer; the real ones were not run."""
    import onnxruntime

    with HTTPServer(("127.0.0.1", 0), _ModelServer) as server:
        server.model = onnxruntime.InferenceSession(handed_over / "onnx/model.onnx")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        code = re.sub(r"http://localhost:\d+", f"http://127.0.0.1:{server.server_port}", program(heading))
        confidence, label = run_program(code, handed_over / "onnx")
        server.shutdown()
    assert label == expected.label
    assert confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_the_names_in_the_settings_of_the_model_servers_are_those_of_the_models(handed_over, run):
    import onnxruntime

    page = PAGE.read_text(encoding="utf-8")
    model = onnxruntime.InferenceSession(handed_over / "onnx/model.onnx")
    (given,), (got,) = model.get_inputs(), model.get_outputs()
    assert (given.name, given.type, got.name, got.type) == ("pixels", "tensor(uint8)", "probabilities", "tensor(float)")
    assert given.shape[0] == "batch"
    for line in (
        f'input [ {{ name: "{given.name}", data_type: TYPE_UINT8',
        f'output [ {{ name: "{got.name}", data_type',
    ):
        assert line in page
