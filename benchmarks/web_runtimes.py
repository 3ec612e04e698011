"""Size and speed of the runtimes that a page of the format `web` could hold, in headless Chromium."""

import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import common
import numpy as np
import typer

from kit.errors import UserError
from kit.export.browser import find_program
from kit.export.web_page import PAGE, VERSION

SITE = "http://runtimes.invalid/"  # answered by this process alone
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}
MIB = 2**20
NPM_SECONDS = 300

TFJS = """
  tf.enableProdMode();
  %s
  const { modelTopology, weightSpecs } = await (await fetch("graph.json")).json();
  const weightData = await (await fetch("weights.bin")).arrayBuffer();
  const graph = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData }));
  const run = async (pixels, side) => tf.tidy(() => {
    const given = tf.tensor4d(Float32Array.from(pixels), [1, side, side, 3]);
    return graph.execute({ pixels: given }, [PROBABILITIES]).dataSync().slice();
  });
"""
TFJS_WASM = """
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  tf.wasm.setWasmPaths(FOLDER("tfjs-backend-wasm") + "dist/");
  await tf.setBackend("wasm");
"""
ORT = """
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = FOLDER("onnxruntime-web") + "dist/";
  const session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  const run = async (pixels, side) => {
    const given = new ort.Tensor("uint8", pixels, [1, side, side, 3]);
    return (await session.run({ pixels: given })).probabilities.data;
  };
"""
LITERT = """
  const { loadLiteRt, loadAndCompile, Tensor } = await import(FOLDER("core") + "dist/index.js");
  await loadLiteRt(FOLDER("core") + "wasm/");
  const compiled = await loadAndCompile("model.tflite", { accelerator: "wasm" });
  const run = async (pixels, side) => {
    const given = new Tensor(pixels, [1, side, side, 3]);
    const [out] = await compiled.run([given]);
    const found = out.toTypedArray().slice();
    given.delete();
    out.delete();
    return found;
  };
"""
# Loads a runtime and its model, then passes each image once, for its probabilities, then one image until time is up.
MEASURE = """
async (asked) => {
  const begun = performance.now();
  const run = await loaded();
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const side = asked.side, images = asked.images.map(bytes);
  await run(images[0], side);
  const ready = performance.now() - begun, probabilities = [], times = [];
  for (const image of images) probabilities.push([...(await run(image, side))]);
  for (const until = performance.now() + 1000 * asked.seconds; performance.now() < until || times.length < 5;) {
    const start = performance.now();
    await run(images[0], side);
    times.push(performance.now() - start);
  }
  return { ready, probabilities, times };
}
"""


@dataclass(frozen=True)
class Runtime:
    """A runtime of npm's registry.

    Attributes:
        name: With its version.
        packages: Such as `onnxruntime-web@1.30.0`.
        embedded: Files that a page of its own would hold, as PACKAGE/PATH.
        scripts: Those of them that the page loads before; others are loaded by the code, or by the runtime itself.
        code: JavaScript that makes `run(pixels, side)`.
    """

    name: str
    packages: tuple[str, ...]
    embedded: tuple[str, ...]
    scripts: tuple[str, ...]
    code: str


_CORE = ("tfjs-core/dist/tf-core.min.js", "tfjs-converter/dist/tf-converter.min.js")
_TFJS = (f"@tensorflow/tfjs-core@{VERSION}", f"@tensorflow/tfjs-converter@{VERSION}")
_WASM, _CPU = "tfjs-backend-wasm/dist/tf-backend-wasm.min.js", "tfjs-backend-cpu/dist/tf-backend-cpu.min.js"
_ORT = "onnxruntime-web/dist/ort.wasm.min.js"
_ORT_WASM = ("onnxruntime-web/dist/ort-wasm-simd-threaded.mjs", "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm")
_LITERT = ("core/dist/index.js", "wasm-utils/dist/index.js")
_LITERT_WASM = ("core/wasm/litert_wasm_internal.js", "core/wasm/litert_wasm_internal.wasm")
RUNTIMES = (
    Runtime(
        f"TensorFlow.js {VERSION}, WASM",
        (*_TFJS, f"@tensorflow/tfjs-backend-wasm@{VERSION}"),
        (*_CORE, _WASM, "tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm"),
        (*_CORE, _WASM),
        TFJS % TFJS_WASM,
    ),
    Runtime(
        f"TensorFlow.js {VERSION}, plain JavaScript",
        (*_TFJS, f"@tensorflow/tfjs-backend-cpu@{VERSION}"),
        (*_CORE, _CPU),
        (*_CORE, _CPU),
        TFJS % 'await tf.setBackend("cpu");',
    ),
    Runtime("ONNX Runtime Web 1.30.0", ("onnxruntime-web@1.30.0",), (_ORT, *_ORT_WASM), (_ORT,), ORT),
    Runtime(
        "LiteRT.js 2.5.3",
        ("@litertjs/core@2.5.3", "@litertjs/wasm-utils@2.5.3"),
        (*_LITERT, *_LITERT_WASM),
        (),
        LITERT,
    ),
)


def web_runtimes(
    exports: Annotated[Path, typer.Argument(help="Exports of one run: web/, onnx/ and litert/, as RUN/exports.")],
    runtime: Annotated[Path | None, typer.Option(help="Folder of tarballs of `npm pack`; default: fetch them.")] = None,
    images: Annotated[int, typer.Option(min=1, help="To compare answers on.")] = 8,
    seconds: Annotated[float, typer.Option(help="How long to time each, a round.")] = 5,
    rounds: common.Rounds = 2,
    results: common.Results = common.RESULTS,
) -> None:
    """Which runtime is the smallest and fastest for a model that one HTML page runs in the browser?

    Each runs the same network on one thread, batch of one, in headless Chromium, and is compared with what the first
    one answers on images of noise. The size is that of all files that its page would hold, compressed and in base64.
    The packages come by npm from the registry that it is set up with; what cannot be had, or does not run, is told.
    """
    from playwright.sync_api import sync_playwright

    files = _models(exports)
    rules = json.loads(files.pop("rules"))
    side = rules["side"]
    noise = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), np.uint8)
    texts = [base64.b64encode(one.tobytes()).decode() for one in noise]
    asked = {"side": side, "seconds": seconds, "images": texts, "output": rules["outputs"][0]}
    left_out: dict[str, str] = {}
    sides: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        sandbox = () if getattr(os, "geteuid", lambda: 1)() else ("--no-sandbox",)
        chromium = driver.chromium.launch(executable_path=find_program() or None, args=["--disable-gpu", *sandbox])
        for _ in range(rounds):
            for one in RUNTIMES:
                if one.name in left_out:
                    continue
                try:
                    held: dict[str, bytes] = {}
                    for package in one.packages:
                        held |= _files(package, runtime or Path(scratch))
                    sizes[one.name] = _sizes([held[name] for name in one.embedded])
                    sides.setdefault(one.name, []).append(_measured(chromium, one, {**files, **held}, asked))
                except UserError as error:
                    left_out[one.name] = error.what
        version = chromium.version
        chromium.close()
    found = {name: {**sizes[name], **_summary(sides[name], next(iter(sides.values())))} for name in sides}
    rows = [
        [
            name,
            f"{one['embedded_bytes'] / MIB:.1f}",
            f"{one['ready_ms']:.0f}",
            f"{one['image_ms']:.1f}",
            f"{one['quickest_ms']:.1f}",
            f"{one['greatest_difference']:.0e}",
        ]
        for name, one in found.items()
    ]
    head = ("runtime", "in the page, MiB", "ready, ms", "1 image, ms", "quickest, ms", "difference from the first")
    common.show(rows, head)
    for name, why in left_out.items():
        print(f"left out, {name}: {why}")
    common.record(results, "web_runtimes", {"chromium": version}, {"runtimes": found, "left_out": left_out})


def _models(exports: Path) -> dict[str, bytes]:
    """Model in the format of each runtime, by file name, and `rules` of the page.

    Raises UserError if an export is missing.
    """
    paths = {name: exports / name for name in (f"web/{PAGE}", "onnx/model.onnx", "litert/model.tflite")}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise UserError(
            f"{exports} has no {', '.join(missing)}.", "Run transferkit export RUN --format web, onnx, litert."
        )
    page, onnx, litert = paths.values()
    text = page.read_text(encoding="utf-8")
    blocks = {name: _block(text, name) for name in ("graph", "weights")}
    rules = re.search(r'id="rules">(.*?)</script>', text, re.DOTALL)
    return {
        "graph.json": blocks["graph"],
        "weights.bin": _widened(json.loads(blocks["graph"])["weightSpecs"], blocks["weights"]),
        "model.onnx": onnx.read_bytes(),
        "model.tflite": _batch_of_one(litert.read_bytes()),
        "rules": rules[1].encode() if rules else b"",
    }


def _block(page: str, name: str) -> bytes:
    found = re.search(rf'id="{name}">([^<]*)<', page)
    return zlib.decompress(base64.b64decode(found[1])) if found else b""


def _widened(specs: list[dict[str, Any]], packed: bytes) -> bytes:
    """Float32 of all constants, as `widened` of kit/export/web/runtime.js."""
    parts, at = [], 0
    for spec in specs:
        size = int(np.prod(spec["shape"], dtype=int))
        if spec.get("bits") != 24:
            parts.append(packed[at : at + 4 * size])
            at += 4 * size
            continue
        channels = spec["shape"][-1]
        steps = np.frombuffer(packed, np.float32, channels, at)
        low = np.frombuffer(packed, np.uint8, 3 * size, at + 4 * channels).reshape(-1, 3).astype(np.int32)
        values = (low[:, 0] | low[:, 1] << 8 | low[:, 2] << 16) << 8 >> 8
        parts.append((values.reshape(-1, channels) * steps).astype(np.float32).tobytes())
        at += 4 * channels + 4 * -(-3 * size // 4)
    return b"".join(parts)


def _batch_of_one(model: bytes) -> bytes:
    """The same model of LiteRT with its batch closed: LiteRT.js refuses an open one."""
    import flatbuffers  # type: ignore[import-untyped]  # both come with the extra `export`
    from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]

    read = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for graph in read.subgraphs:
        for tensor in graph.tensors:
            tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(read.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _files(package: str, folder: Path) -> dict[str, bytes]:
    """Files of a package by PACKAGE/PATH, without the scope; npm fetches what is not in `folder`."""
    scoped, version = package.rsplit("@", 1)
    tarball = folder / f"{scoped.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not tarball.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise UserError("npm is not installed.", "Install Node.js, or name a folder by --runtime.")
        command = [npm, "pack", "--silent", "--pack-destination", str(folder), package]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS, check=False)
        if not tarball.is_file():
            raise UserError(f"npm could not fetch {package}: {done.stderr.strip()[-200:]}")
    with tarfile.open(tarball) as archive:
        members = [one for one in archive.getmembers() if one.isfile() and Path(one.name).suffix in TYPES]
        parts = {one.name.partition("/")[2]: archive.extractfile(one) for one in members}
        return {f"{scoped.rpartition('/')[2]}/{name}": part.read() for name, part in parts.items() if part}


def _sizes(parts: list[bytes]) -> dict[str, int]:
    packed = sum(len(base64.b64encode(zlib.compress(part, 9))) for part in parts)
    return {"bytes": sum(map(len, parts)), "embedded_bytes": packed}


def _measured(chromium: Any, one: Runtime, files: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    """What `MEASURE` tells of a runtime; UserError if it does not run."""
    from playwright.sync_api import Error

    code = one.code.replace("PROBABILITIES", json.dumps(asked["output"]))
    imports = json.dumps({"imports": {"@litertjs/wasm-utils": f"{SITE}wasm-utils/dist/index.js"}})
    page = f'<!doctype html><link rel="icon" href="data:,"><script type="importmap">{imports}</script>'
    page += "".join(f'<script src="{SITE}{name}"></script>' for name in one.scripts)
    folder = f'const FOLDER = (name) => "{SITE}" + name + "/";'
    page += f"<script>{folder}\nasync function loaded() {{{code}\n return run; }}</script>"
    held = {**files, "index.html": page.encode()}

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix(SITE)
        if name in held:
            route.fulfill(body=held[name], content_type=TYPES.get(Path(name).suffix, "application/octet-stream"))
        else:
            route.abort()

    context = chromium.new_context()
    try:
        context.route("**/*", answer)
        view = context.new_page()
        view.set_default_timeout(600_000)
        view.goto(f"{SITE}index.html")
        told: dict[str, Any] = view.evaluate(MEASURE, asked)
    except Error as error:
        raise UserError(f"it does not run: {str(error).splitlines()[0][:200]}") from None
    finally:
        context.close()
    return told


def _summary(rounds: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, float]:
    times = [time for one in rounds for time in one["times"]]
    apart = np.array(rounds[0]["probabilities"]) - np.array(first[0]["probabilities"])
    return {
        "ready_ms": median(one["ready"] for one in rounds),
        "image_ms": median(times),
        "quickest_ms": min(times),
        "passes": len(times),
        "greatest_difference": float(np.abs(apart).max()),
    }


if __name__ == "__main__":
    common.start(web_runtimes)
