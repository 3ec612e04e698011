"""`transferkit export --format web`: the page in headless Chromium, by what a person does with it.

Needs the extra `web`, Chromium (on PATH, or named by CHROMIUM), and WEB_RUNTIME: a folder into which npm has installed
the packages of kit/export/web_page.py; the session `export` of nox sees to them. Skips plainly where one is missing.
"""

import base64
import io
import json
import os
import zlib
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from kit.data.decoding import decode_image, fit_square
from kit.data.images import decode
from kit.errors import ConfigError
from kit.export import export_run
from kit.export.browser import find_program
from kit.export.formats import find_format
from kit.export.web_page import GRAPH, WEIGHTS, write_page
from kit.predict import Predictor
from kit.run import Run
from training.small import run_config

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]

AXE, RUNTIME = os.environ.get("AXE_CORE", ""), os.environ.get("WEB_RUNTIME", "")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)
THRESHOLD = 0.5
SIDEWAYS = "document.documentElement.scrollWidth > window.innerWidth"
# Files as a browser hands them over, by drop or by paste.
HAND_OVER = """([kind, files]) => {
  const held = new DataTransfer();
  for (const [name, type, text] of files) {
    held.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name, { type }));
  }
  const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: held, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: held, bubbles: true, cancelable: true });
  document.querySelector("#place").dispatchEvent(event);
}"""
FIT = """([text, width, height, rules]) => {
  const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return [...pixels.fitSquare({ data, width, height }, rules)];
}"""
# The evidence of a network this small may be negative for every class, and then nothing is drawn.
EVIDENCE_FOR_ALL = """() => {
  const run = model.run;
  model.run = (square) => {
    const found = run(square);
    return { ...found, evidence: found.evidence.map((_, place) => 1 + (place % found.probabilities.length)) };
  };
}"""


@pytest.fixture(scope="module")
def run(images, lively_weights, train_small):
    return train_small(run_config(images, lively_weights))


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    missing = [name for name in find_format("web").needs if find_spec(name) is None]
    if missing or not RUNTIME or not find_program():
        pytest.skip("needs the extra web, Chromium, and WEB_RUNTIME")
    return export_run(run, "web", tmp_path_factory.mktemp("web") / "out", threshold=THRESHOLD, runtime=RUNTIME)


@pytest.fixture(scope="module")
def chromium(exported):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=find_program(), args=list(ARGUMENTS))
        yield started
        started.close()


@contextmanager
def opened_in(context, exported):
    """The page, opened from disk with no network; nothing but it may be asked for, and nothing logged."""
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    logged, asked = [], []
    opened.on("console", lambda message: logged.append(message.text))
    opened.on("pageerror", lambda error: logged.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    address = (exported.path / "model.html").as_uri()
    opened.goto(address)
    opened.wait_for_selector("html[data-ready]")
    yield opened
    assert logged == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [address]
    context.close()


@pytest.fixture
def page(chromium, exported):
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    with opened_in(context, exported) as opened:
        yield opened


@pytest.fixture
def phone(chromium, exported):
    """The page on a telephone, where a page from disk may use no camera."""
    size = {"width": 390, "height": 844}
    context = chromium.new_context(offline=True, viewport=size, is_mobile=True, has_touch=True)
    context.add_init_script("navigator.mediaDevices.getUserMedia = async () => { throw new Error('not from disk'); };")
    with opened_in(context, exported) as opened:
        yield opened


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.of(run)


@pytest.fixture
def image(run) -> tuple[str, bytes]:
    """Name and content of an image without loss, wide and not of the model's size."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    return "a wide one.png", encoded(Image.fromarray(pixels))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def hand_over(page, kind: str, *files: tuple[str, bytes]) -> None:
    before = page.locator(".answers > li").count()
    given = [[name, "image/png", base64.b64encode(content).decode()] for name, content in files]
    page.evaluate(HAND_OVER, [kind, given])
    page.locator(f".answers > li:nth-child({before + len(files)})").wait_for()


def answered(page) -> dict[str, str]:
    """The classes of the newest card, in its order, with the confidence beside each."""
    rows = page.locator(".answers > li").first.locator(".top button")
    return {
        row.locator("bdi").inner_text(): row.locator(".share").inner_text()
        for row in (rows.nth(place) for place in range(rows.count()))
    }


def expected(predictor, content: bytes) -> dict[str, str]:
    (one,) = predictor.predict([content])
    ranked = sorted(zip(predictor.classes, one.probabilities, strict=True), key=lambda pair: -pair[1])[:3]
    return {name: f"{share:.1%}" for name, share in ranked}


def close(found: dict[str, str], wanted: dict[str, str], within: float = 0.1001) -> bool:
    """Whether the classes are the same in the same order, and the percentages to the last digit."""
    apart = [abs(float(found[name].rstrip("%")) - float(wanted[name].rstrip("%"))) for name in found if name in wanted]
    return list(found) == list(wanted) and max(apart) <= within


def test_the_gate_is_that_of_other_formats(exported, run):
    gate, of_files = exported.record["gate"], exported.record["from_files"]
    assert (gate["split"], gate["tolerance"], gate["agreement"]) == ("test", 1e-3, 1)
    assert 0 < gate["greatest_difference"] <= 1e-3
    assert of_files["photos"] == gate["photos"] == len(run.predictions.query("split == 'test'"))
    assert (of_files["unreadable"], of_files["agreement"]) == (0, 1)
    assert of_files["greatest_difference"] < 0.05
    assert of_files["pixels_off_by"] < 1
    assert "Chromium" in exported.record["runtime"]
    assert {path.name for path in exported.path.iterdir()} >= {"model.html", "labels.json", "README.md"}
    card = (exported.path / "README.md").read_text()
    assert "Open `model.html` in a browser" in card
    assert "A browser decodes image files in its own way" in card


def test_a_dropped_image_gets_the_answer_of_predict(page, predictor, image):
    hand_over(page, "drop", image)
    assert close(answered(page), expected(predictor, image[1]))
    assert page.locator(".answers h3").inner_text() == "a wide one.png"
    assert page.locator("#status").inner_text().startswith("a wide one.png: ")


def test_several_dropped_images_get_a_card_each_the_newest_first(page, predictor, image):
    other = encoded(Image.new("RGB", (40, 40), (10, 200, 30)))
    hand_over(page, "drop", image, ("green.png", other))
    assert page.locator(".answers h3").all_inner_texts() == ["green.png", "a wide one.png"]
    assert close(answered(page), expected(predictor, other))


def test_a_pasted_image_gets_an_answer(page, predictor, image):
    hand_over(page, "paste", image)
    assert close(answered(page), expected(predictor, image[1]))
    assert page.locator(".answers h3").inner_text() == "pasted image"
    page.evaluate(HAND_OVER, ["paste", []])
    assert page.locator("#status").inner_text() == "What was pasted is no image."


def test_the_file_chooser_opens_by_keyboard(page, predictor, image, tmp_path):
    (tmp_path / image[0]).write_bytes(image[1])
    opened = []
    # well before the key: a slow browser begins to tell of choosers too late
    page.on("filechooser", lambda one: opened.append(one))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    page.keyboard.press("Enter")
    for _ in range(600):
        if opened:
            break
        page.wait_for_timeout(50)
    opened[0].set_files(tmp_path / image[0])
    page.locator(".answers > li").wait_for()
    assert close(answered(page), expected(predictor, image[1]))


def test_the_camera_takes_a_picture(page):
    page.click("#camera")
    page.locator("#viewfinder[open]").wait_for()
    for _ in range(200):  # until it shows something
        if page.evaluate("document.querySelector('#video').videoWidth"):
            break
        page.wait_for_timeout(50)
    page.click("#take")
    page.locator(".answers > li").wait_for()
    assert page.locator(".answers h3").inner_text() == "camera"
    assert len(answered(page)) == 3
    assert not page.locator("#viewfinder").is_visible()
    assert page.evaluate("document.querySelector('#video').srcObject") is None


def test_by_touch_a_telephone_opens_its_own_camera_and_shows_the_evidence(phone, predictor, image, tmp_path):
    (tmp_path / image[0]).write_bytes(image[1])
    with phone.expect_file_chooser() as chosen:
        phone.tap("#camera")
    assert chosen.value.element.get_attribute("capture") == "environment"
    chosen.value.set_files(tmp_path / image[0])
    card = phone.locator(".answers > li").first
    card.wait_for()
    assert close(answered(phone), expected(predictor, image[1]))
    bar = card.locator(".top button").nth(1)
    bar.tap()
    assert bar.get_attribute("aria-pressed") == "true"
    assert not phone.evaluate(SIDEWAYS)


def test_it_is_unsure_below_the_threshold_and_says_why(page, predictor, image):
    assert page.locator("#threshold-value").inner_text() == f"{THRESHOLD:.2f}"
    hand_over(page, "drop", image)
    (one,) = predictor.predict([image[1]])
    said = page.locator(".answer")
    assert said.inner_text() == one.answer(THRESHOLD)
    page.focus("#threshold")
    page.keyboard.press("End")
    assert said.inner_text() == "unsure"
    assert "is below the threshold of 100.0%" in page.locator(".why").inner_text()
    assert close(answered(page), expected(predictor, image[1]))  # what it thinks is still there
    page.keyboard.press("Home")
    assert said.inner_text() == one.label
    assert page.locator("#threshold-value").inner_text() == "0.00"


def test_what_is_unlike_anything_it_was_trained_on_is_called_so(chromium, judged, unsure_images, tmp_path):
    done = export_run(judged, "web", tmp_path / "out", runtime=RUNTIME)
    gate = done.record["gate"]
    assert gate["strangeness_difference"] <= gate["strangeness_tolerance"] == 1e-3
    noise = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)))
    known = next(one for one in judged.predict(sorted(unsure_images.rglob("*.jpg"))) if one.answer() in judged.classes)
    (strange,) = judged.predict([noise])
    assert strange.answer() == "unlike"
    context = chromium.new_context(offline=True)
    with opened_in(context, done) as page:
        hand_over(page, "drop", ("noise.png", noise))
        answer, why = page.locator(".answer").first, page.locator(".why").first
        assert answer.inner_text() == "unlike anything it was trained on"
        beyond = judged.abstention.strangeness
        assert why.inner_text() == f"its strangeness is {strange.strangeness:.2f}, beyond {beyond:.2f}; 1 is usual"
        hand_over(page, "drop", ("known.png", encoded(Image.open(known.path))))
        assert page.locator(".answer").first.inner_text() == known.label
        assert f"stranger to it than {beyond:.2f}" in page.content()


def test_the_evidence_is_shown_for_a_class_and_goes_again(page, image):
    page.evaluate(EVIDENCE_FOR_ALL)
    hand_over(page, "drop", image)
    seen = "document.querySelector('canvas').toDataURL()"
    rows = page.locator(".top button")
    states = [page.evaluate(seen)]
    assert [rows.nth(k).get_attribute("aria-pressed") for k in range(3)] == ["true", "false", "false"]
    for k in (1, 1):  # on, off
        rows.nth(k).press("Enter")
        states.append(page.evaluate(seen))
    assert len(set(states)) == 3
    assert rows.nth(1).get_attribute("aria-pressed") == "false"
    name = rows.nth(0).locator("bdi").inner_text()
    rows.nth(0).press("Enter")
    assert page.locator("canvas").get_attribute("aria-label") == f"a wide one.png, with the evidence for {name}"
    assert page.evaluate(seen) == states[0]


def test_what_is_no_image_is_told_and_the_next_one_is_answered(page, image):
    hand_over(page, "drop", ("letter.png", b"no image"), image)
    cards = page.locator(".answers > li")
    assert "letter.png cannot be looked at: it is no image" in cards.nth(1).inner_text()
    assert len(answered(page)) == 3


def test_the_page_may_ask_for_nothing(page, exported):
    text = (exported.path / "model.html").read_text(encoding="utf-8")
    policy = text.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    assert "connect-src &#39;none&#39;" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy.replace("wasm-unsafe-eval", "")
    assert "SharedArrayBuffer" not in page.evaluate("Object.getOwnPropertyNames(globalThis)")
    assert "Apache License" in text
    assert "XNNPACK" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone_and_has_no_fault_that_axe_finds(page, image, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    hand_over(page, "drop", (f"{'a very long name ' * 8}.png", image[1]))
    assert not page.evaluate(SIDEWAYS)
    for folded in page.locator("summary").all():
        folded.press("Enter")
    assert not page.evaluate(SIDEWAYS)
    if AXE:
        with open(AXE, encoding="utf-8") as script:
            page.evaluate(script.read())
        found = page.evaluate("axe.run()")["violations"]
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found] == []


# === How closely it decodes ===


@pytest.mark.parametrize("mode", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(320, 240), (97, 411), (1200, 901), (32, 32), (20, 31), (700, 33)])
def test_it_resizes_as_pillow_does(page, mode, size):
    """To the level; where Pillow takes the columns first, within one."""
    side, background = 32, (10, 200, 30)
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    rules = {"side": side, "resize": mode, "background": background}
    found = page.evaluate(FIT, [base64.b64encode(pixels.tobytes()).decode(), *size, rules])
    wanted = fit_square(Image.fromarray(pixels[..., :3]), side, mode, background)
    off = np.abs(np.reshape(found, wanted.shape) - wanted.astype(int))
    assert off.max() <= (1 if size[1] > size[0] else 0)


def smooth(width: int, height: int) -> Image.Image:
    """An image of large shapes: what a camera sees, not noise."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [127 + 120 * np.sin(9 * (a * x + b * y)) for a, b in ((1, 2), (3, -1), (-2, 2))]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, "JPEG", quality=95, exif=exif)


FILES = {
    "without loss": (lambda: encoded(smooth(90, 60)), 0),
    "turned by EXIF": (lambda: turned(smooth(90, 60)), 2),
    "a JPEG that Pillow decodes at an eighth": (lambda: encoded(smooth(900, 700), "JPEG", quality=95), 3),
    "grey": (lambda: encoded(smooth(90, 60).convert("L")), 0),
    "transparent, on the background": (
        lambda: encoded(Image.merge("RGBA", (*smooth(90, 60).split(), smooth(90, 60).convert("L")))),
        2,
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_it_decodes_files_nearly_as_pillow_does(page, run, kind):
    make, within = FILES[kind]
    content = make()
    found = page.evaluate("(text) => check.file(text)", base64.b64encode(content).decode())
    wanted = decode(content, run.config.data)
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    assert np.abs(pixels.reshape(wanted.shape) - wanted.astype(int)).max() <= within
    with Image.open(io.BytesIO(content)) as opened:  # the kinds differ in what is asked of a decoder
        assert decode_image(opened, (0, 0, 250)).image.mode == "RGB"


def test_grey_of_16_bits_is_refused_where_its_range_is_the_runs_own(page):
    content = encoded(Image.fromarray(np.full((20, 20), 900, np.uint16)))
    hand_over(page, "drop", ("x-ray.png", content))
    assert "grey of 16 bits has a range of its own" in page.locator(".answers > li").inner_text()


# === What is refused ===


def test_without_chromium_one_message_says_what_to_install(exported, run_python, tmp_path):
    """In a process of its own: Playwright runs once in a thread."""
    code = (
        "import sys; from pathlib import Path; from kit.export.browser import BrowserModel as B; B(Path(sys.argv[1]))"
    )
    done = run_python("-c", code, exported.path / "model.html", env={"CHROMIUM": tmp_path / "none"})
    assert done.returncode == 1
    assert "headless Chromium, which does not start" in done.stderr
    assert "let CHROMIUM name its program, or run `playwright install chromium`" in done.stderr


def test_a_runtime_is_for_this_format(run, tmp_path):
    with pytest.raises(ConfigError, match="is for the format web, not keras"):
        export_run(run, "keras", tmp_path / "out", runtime=tmp_path)


def test_names_of_other_people_stay_text(chromium, exported, run, tmp_path):
    """Class names are whatever folders were called: the page written again with worse ones."""
    worse = ["</script><script>document.title = 'owned'</script>", "<!--", "a & b <i>c</i>"]

    class Renamed(Run):
        @property
        def manifest(self):
            return {**run.manifest, "classes": worse, "data": {**run.manifest["data"], "name": "<b>&"}}

    text = (exported.path / "model.html").read_text(encoding="utf-8")
    for name in ("graph", "weights"):
        packed = text.partition(f'id="{name}">')[2].partition("<")[0]
        content = zlib.decompress(base64.b64decode(packed))
        if name == "graph":
            rules = json.loads(text.partition('id="rules">')[2].partition("</script>")[0])
            content = json.dumps({**json.loads(content), **{key: rules[key] for key in ("outputs", "grid")}}).encode()
        (tmp_path / {"graph": GRAPH, "weights": WEIGHTS}[name]).write_bytes(content)
    write_page(Renamed(run.path), tmp_path, "None & all.", 0.0, RUNTIME)
    opened = chromium.new_page()
    opened.goto((tmp_path / "model.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    hand_over(opened, "drop", ("<b>bold</b>.png", encoded(smooth(40, 40))))
    assert set(answered(opened)) == set(worse)
    assert opened.locator("h1").inner_text() == opened.title() == "<b>&"
    assert opened.locator(".answers h3").inner_text() == "<b>bold</b>.png"
    opened.close()
