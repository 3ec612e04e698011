"""The page of the format `web`: one HTML file that holds a model, the runtime that runs it, and how images come to it.

Its Content-Security-Policy lets no request out and runs no script but those in it, by their hashes.
"""

import base64
import hashlib
import json
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from kit.export.npm import NpmPackage, package_files
from kit.files import read_json, write_text
from kit.run import Run

PAGE = "model.html"
VERSION = "4.22.0"
RUNTIME = f"TensorFlow.js {VERSION}"
PACKAGES = (
    NpmPackage(
        "@tensorflow/tfjs-core",
        VERSION,
        "e8f8aa285ad0237b901e7d79995a1450993cf11fb1b3cc02f09de167fdaf9496",
        {"dist/tf-core.min.js": "0924438788ff7da57b14d0f7c45a05d81611a5a4b52653da6d065e86d348757c"},
    ),
    NpmPackage(
        "@tensorflow/tfjs-converter",
        VERSION,
        "f8fcaa0d13446e5637f590f72b1595c2571779a81a927003baa0d488165b1a7a",
        {"dist/tf-converter.min.js": "0cf35a2982b637997e8cae097c991c0123b7d5393b3d45730aa732b907c6cd1b"},
    ),
    NpmPackage(
        "@tensorflow/tfjs-backend-wasm",
        VERSION,
        "5cd6f5e18657c12fb94f4ec3dcef485c8c1a9ca39f3ef1d261c1cb13c1a231c3",
        {
            "dist/tf-backend-wasm.min.js": "691bbec0ef8b5a7f17f212e9c5d85832030f90d030b46e99acb4dea1fb16f009",
            "dist/tfjs-backend-wasm-simd.wasm": "77ebb28a6d34f371dbbf2086b7f2de8994acd8ea5a3cf1fa24d2c26c840cac7b",
        },
    ),
)
CLASSES_SHOWN = 200
_SCRIPTS = ("tf-core.min.js", "tf-converter.min.js", "tf-backend-wasm.min.js")
_WASM = "tfjs-backend-wasm-simd.wasm"
GRAPH, WEIGHTS = "graph.json", "weights.bin"  # what the writer leaves for the page, which takes their place
_OWN = files("kit.export") / "web"


def write_page(
    run: Run,
    folder: Path,
    licence: str,
    threshold: float,
    runtime: Path | str | None = None,
    beyond: float | None = None,
) -> None:
    """Put the page into `folder`, in place of the graph and the weights that the writer left there.

    Args:
        licence: Sentences on that of the model.
        threshold: Confidence below which the page first says "unsure", 0 to 1.
        runtime: Folder of the packages of npm; None fetches them.
        beyond: Strangeness from which it says "unlike anything it was trained on"; None: never.
    """
    graph = read_json(folder / GRAPH)
    parts = package_files(PACKAGES, runtime)
    scripts = [_without_map(parts[name].decode()) for name in _SCRIPTS]
    scripts += [_own(name) for name in ("pixels.js", "runtime.js", "page.js")]
    styles = _own("page.css")
    blocks = {
        "wasm": parts[_WASM],
        "graph": json.dumps({name: graph[name] for name in ("modelTopology", "weightSpecs")}).encode(),
        "weights": (folder / WEIGHTS).read_bytes(),
    }
    policy = (
        f"default-src 'none'; script-src {_hashes(scripts)} 'wasm-unsafe-eval'; style-src {_hashes([styles])}; "
        "img-src data: blob:; media-src blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )
    page = _template().render(
        title=run.manifest["data"]["name"], created=run.manifest.get("created", "")[:10], score=_score(run),
        classes=run.manifest["classes"], shown=CLASSES_SHOWN, runtime=RUNTIME, policy=policy, styles=styles,
        rules=_rules(run, graph, threshold, beyond), blocks=[(name, _packed(one)) for name, one in blocks.items()],
        beyond=beyond, scripts=scripts, licence=licence, licences=_licences(),
    )  # fmt: skip
    write_text(folder / PAGE, page)
    for name in (GRAPH, WEIGHTS):
        (folder / name).unlink()


def _rules(run: Run, graph: dict[str, Any], threshold: float, beyond: float | None) -> str:
    """What the scripts read: how an image becomes pixels, what the model gives."""
    data = run.config.data
    rules = {
        "side": data.image_size,
        "resize": data.resize,
        "background": list(data.background),
        "profiles": data.colour_profiles,
        "greyRange": list(data.grey_range),
        "classes": run.manifest["classes"],
        "outputs": graph["outputs"],
        "grid": graph["grid"],
        "threshold": threshold,
        "beyond": beyond,
    }
    # JSON inside a script element: no tag can begin in it
    return json.dumps(rules).replace("<", "\\u003c").replace("&", "\\u0026").replace(">", "\\u003e")


def _score(run: Run) -> str:
    """Sentence on the test accuracy; empty where nothing was tested."""
    scores = run.metrics.get("test", {})
    if not scores.get("n"):
        return ""
    return f"It was right on {scores['accuracy']:.1%} of {scores['n']:,} test images."


def _licences() -> list[tuple[str, str]]:
    apache = _own("apache-2.0.txt")
    return [
        (f"{RUNTIME} and transferkit: Apache License 2.0", apache),
        ("Parts of TensorFlow.js", _own("notices.txt")),
    ]


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _hashes(parts: list[str]) -> str:
    """Sources of a policy that allow these scripts or styles and no others."""
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in parts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def _without_map(script: str) -> str:
    """Script without the comment that names a file beside it."""
    return "\n".join(line for line in script.split("\n") if not line.startswith("//# sourceMappingURL"))


def _own(name: str) -> str:
    return (_OWN / name).read_text(encoding="utf-8")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_own("page.html.jinja"))
