"""Doctor tells what a run would use, survives what is broken, and says what to do."""

import json
import os

import pytest
import typer

from doubles import swap
from kit.backends import choice
from kit.commands import doctor as module
from kit.commands.doctor import doctor, examine

pytestmark = pytest.mark.backend

BACKEND = os.environ["KERAS_BACKEND"]  # conftest.py has settled it

HEALTHY = 'print(\'{"device": "cpu", "device_name": "a processor", "threads": 2}\')'


@pytest.fixture
def probe(monkeypatch, tmp_path):
    """Replaces what the child processes run; this backend, JAX and TensorFlow count as installed."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    swap(monkeypatch, choice, "installed_backends", lambda: tuple(dict.fromkeys(("jax", "tensorflow", BACKEND))))
    return lambda code: monkeypatch.setattr(module, "PROBE", code)


def test_the_command_starts_the_backend_and_says_so(run_cli, tmp_path):
    done = run_cli("doctor", "--json", env={"KERAS_HOME": tmp_path})
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    assert told["choice"]["name"] == BACKEND
    assert told["backends"][BACKEND]["starts"]
    assert told["backends"][BACKEND]["device"] in ("cpu", "gpu", "tpu")
    assert told["packages"]["keras"]
    (told_of,) = [line for line in told["advice"] if "ImageNet weights" in line]
    wanted = (str(tmp_path / "models"), "--weights FILE", "--weights starter", "--backbone efficientnet_lite0")
    assert [words for words in wanted if words not in told_of] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import time; time.sleep(60)", "did not start within 0.5 seconds"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("raise ImportError('no libfoo.so')", "status 1: ImportError: no libfoo.so"),
        ("import os; os._exit(7)", "status 7"),
        ('print(\'{"error": "Keras could not start"}\')', "Keras could not start"),
    ],
)
def test_a_broken_backend_is_a_line_and_not_the_end(probe, monkeypatch, code, told):
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.5 if "sleep" in code else 60)
    probe(code)
    report = examine()
    assert not report["ok"]
    assert all(told in report["backends"][name]["error"] for name in ("jax", "tensorflow"))
    assert any(f"--force-reinstall '{BACKEND}>=" in line for line in report["advice"])


def test_a_misspelt_backend_is_told_and_the_exit_status_says_that_no_run_can_start(probe, monkeypatch, capsys):
    probe(HEALTHY)
    monkeypatch.setenv("KERAS_BACKEND", "openvino")
    with pytest.raises(typer.Exit) as exit:
        doctor(as_json=False)
    told = capsys.readouterr().out
    assert exit.value.exit_code == 1
    assert "must be jax or tensorflow or torch, not 'openvino'" in told
    assert "KERAS_BACKEND=jax" in told
    assert told.endswith("A run cannot start yet.\n")


def test_without_any_backend_doctor_says_what_to_install(probe, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")
    swap(monkeypatch, choice, "installed_backends", lambda: ())
    report = examine()
    assert not report["ok"]
    assert "pip install 'jax>=" in report["advice"][0]


def test_a_cache_that_cannot_be_written_is_told(probe, monkeypatch, tmp_path):
    probe(HEALTHY)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "file" / "cache"))
    report = examine()
    assert not report["ok"]
    assert any("TRANSFERKIT_CACHE" in line for line in report["advice"])


def test_cache_and_weights_are_measured(probe, monkeypatch, tmp_path, capsys):
    probe(HEALTHY)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "stores").mkdir(parents=True)
    (tmp_path / "cache" / "stores" / "chunk").write_bytes(bytes(30_000_000))
    damaged = tmp_path / "keras" / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half")
    report = examine()
    assert report["ok"]
    assert report["cache"]["bytes"] == 30_000_000
    assert "4 bytes, not 9,406,464" in report["weights"]["fault"]
    assert damaged.exists()
    with pytest.raises(typer.Exit):
        doctor(as_json=False)
    assert "0.03 GB used" in capsys.readouterr().out
