"""The page that `inspect` draws, in headless Chromium: images of poor quality are seen with their values."""

import pytest
from PIL import Image, ImageEnhance, ImageFilter

from image_files import make_images

pytestmark = pytest.mark.xdist_group("inspection-page")
TREATMENTS = {
    "cat/0003.jpg": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "cat/0004.jpg": lambda image: ImageEnhance.Brightness(image).enhance(0.1),
    "dog/0005.jpg": lambda image: image.convert("L").convert("RGB"),
}


@pytest.fixture(scope="module")
def record(tmp_path_factory, run_cli):
    """What `inspect` leaves of 24 images, three of them spoilt."""
    folder = tmp_path_factory.mktemp("inspected")
    images = make_images(folder / "photos", ("cat", "dog"), 12, size=(160, 128))
    for path, treat in TREATMENTS.items():
        with Image.open(images / path) as image:
            image.load()
        treat(image).save(images / path, quality=90)
    done = run_cli("inspect", images, "--out", folder / "record", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "note: blurred (1)\n  cat/0003.jpg is blurred: sharpness 0.2" in done.stdout
    return folder / "record"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_person_finds_the_spoilt_images_with_their_values(record, show_page, axe, width):
    page = show_page(record / "report.html", width)
    page.get_by_role("navigation").get_by_role("link", name="What the audit found").click()
    findings = page.locator("#findings")
    assert findings.is_visible()
    for title, path, value in (
        ("Blurred images", "cat/0003.jpg", "sharpness 0.2"),
        ("Dark images", "cat/0004.jpg", "99% of it lies below 2"),
        ("Grey images among images in colour", "dog/0005.jpg", "red, green and blue differ by 0 (23 of 24"),
    ):
        grid = findings.locator(".review", has=page.get_by_role("heading", name=title, exact=True))
        assert grid.locator("ul img").count() == 1
        assert grid.locator("ul img").evaluate("image => image.naturalWidth") > 100
        assert path in grid.inner_text()
        assert value in grid.inner_text()
    assert "0" in page.locator(".summary", has_text="Findings").inner_text()
    assert "3 notes" in page.locator(".summary").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe(page) == []
