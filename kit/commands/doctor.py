"""`transferkit doctor`: what is installed, works or is missing, with advice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from kit.commands import AsJson

PROBE_SECONDS = 120
PACKAGES = ("keras", "numpy", "pillow", "pandas", "scikit-learn", "typer", "rich", "h5py", "pyarrow")

# Run in a child process: a broken installation may raise, hang or crash.
PROBE = """
import json, sys
from kit import backends
from kit.errors import UserError
backends.own_process()
try:
    backends.start(sys.argv[1])
    print(json.dumps(backends.describe()))
except UserError as error:
    print(json.dumps({"error": error.what}))
"""


def doctor(as_json: AsJson = False) -> None:
    """Shows what is installed, and what to do about what is missing.

    Exit status 0 if a run could start, 1 if not.
    """
    report = examine()
    print(json.dumps(report, indent=2) if as_json else "\n".join(_lines(report)))
    raise typer.Exit(0 if report["ok"] else 1)


def examine() -> dict[str, Any]:
    """All findings as JSON values; `advice` says what to do, `ok` whether a run could start."""
    backends = _examine_backends()
    choice = _examine_choice()
    cache = _examine_cache()
    weights = _examine_weights()
    chosen = backends.get(choice["name"], {})
    return {
        "ok": bool(chosen.get("starts") and cache["writable"]),
        "choice": choice,
        "backends": backends,
        "packages": _versions(),
        "cache": cache,
        "weights": weights,
        "advice": _advice(choice, backends, cache, weights),
    }


def _examine_choice() -> dict[str, Any]:
    from kit.backends.choice import explain_choice
    from kit.errors import BackendError

    try:
        choice = explain_choice()
    except BackendError as error:
        return {"name": None, "why": error.what, "hint": error.hint}
    return {"name": choice.name, "why": choice.why, "hint": ""}


def _examine_backends() -> dict[str, dict[str, Any]]:
    from kit.backends import backend_version
    from kit.backends.choice import BACKENDS, installed_backends

    probes = {name: _start_probe(name) for name in installed_backends()}  # in parallel: each takes seconds to import
    return {
        name: {"installed": name in probes, "version": backend_version(name)}
        | (_finish_probe(probes[name]) if name in probes else {"starts": False, "error": "not installed"})
        for name in BACKENDS
    }


def _start_probe(name: str) -> subprocess.Popen:
    import kit

    search_path = [str(Path(kit.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search_path))}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROBE, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=environment,
        text=True,
        errors="replace",
    )


def _finish_probe(probe: subprocess.Popen) -> dict[str, Any]:
    """Whether the backend starts and on what device, or why not."""
    try:
        output, complaints = probe.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return {"starts": False, "error": f"did not start within {PROBE_SECONDS:g} seconds"}
    try:
        found = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"starts": False, "error": _how_it_ended(probe.returncode, complaints)}
    if "error" in found:
        return {"starts": False, "error": found["error"]}
    return {"starts": True, **{key: found[key] for key in ("device", "device_name", "threads")}}


def _how_it_ended(status: int, complaints: str) -> str:
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    last = [line for line in complaints.splitlines() if line.strip()][-1:]
    return f"its process ended with status {status}" + "".join(f": {line.strip()}" for line in last)


def _versions() -> dict[str, str | None]:
    from kit.machine import package_version

    return {"python": ".".join(map(str, sys.version_info[:3])), **{name: package_version(name) for name in PACKAGES}}


def _examine_cache() -> dict[str, Any]:
    from kit.files import free_bytes
    from kit.machine import cache_folder

    folder = cache_folder().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "folder": str(folder),
        "writable": existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
        "bytes": sum(sizes),
        "free_bytes": free_bytes(folder),
    }


def _examine_weights() -> dict[str, Any]:
    from kit.model.weights import STARTER_FILE, imagenet_fault, imagenet_file

    fault = imagenet_fault(1.0, 224)
    starter = str(STARTER_FILE) if STARTER_FILE.is_file() else None
    return {"imagenet": str(imagenet_file(1.0, 224)), "usable": fault is None, "fault": fault, "starter": starter}


def _advice(choice: dict, backends: dict, cache: dict, weights: dict) -> list[str]:
    from kit.backends.choice import BACKENDS
    from kit.machine import install_command

    advice = [choice["hint"]] if choice["hint"] else []
    for name, found in backends.items():
        if found["installed"] and not found["starts"]:
            advice.append(f"{name} does not start: reinstall it ({install_command(name, '--force-reinstall')}).")
    if not any(found["installed"] for found in backends.values()) and not advice:
        advice.append(f"Install a backend: {install_command(BACKENDS[0])}")
    if not cache["writable"]:
        advice.append(f"Set TRANSFERKIT_CACHE to a folder you may write to: {cache['folder']} is not one.")
    if not weights["usable"]:
        from kit.model.catalog import mobilenet_v2_file
        from kit.model.weights import offline_ways

        ways = offline_ways(mobilenet_v2_file(1.0, 224))
        advice.append(f"The first run downloads the ImageNet weights (9.4 MB). Without a network: {ways}")
    return advice


def _lines(report: dict[str, Any]) -> list[str]:
    choice, cache, weights = report["choice"], report["cache"], report["weights"]
    lines = ["Backends"]
    for name, found in report["backends"].items():
        state = f"{found['device']}, {found['device_name']}, {found['threads']} threads" if found["starts"] else ""
        lines.append(f"  {name:<12} {found['version'] or '-':<10} {state or found['error']}")
    chosen = f"{choice['name']} ({choice['why']})" if choice["name"] else f"none: {choice['why']}"
    lines += [f"  a run uses   {chosen}", "Versions"]
    lines += [f"  {name:<12} {version or 'not installed'}" for name, version in report["packages"].items()]
    lines += [
        "Cache",
        f"  {cache['folder']}: {_gigabytes(cache['bytes'])} used, {_gigabytes(cache['free_bytes'])} free",
    ]
    lines += ["Pretrained weights", f"  imagenet     {weights['fault'] or weights['imagenet']}"]
    lines += [f"  starter      {weights['starter'] or 'missing: install transferkit again'}"]
    if report["advice"]:
        lines += ["What to do", *(f"  - {line}" for line in report["advice"])]
    return [*lines, "A run can start." if report["ok"] else "A run cannot start yet."]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
