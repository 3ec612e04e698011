"""Draw docs/demo-data.jpg: `python docs/make_contact_sheet.py`. A row for each real species, two for made-up ones."""

from pathlib import Path

from PIL import Image

from kit.synthetic import draw_flower

SIDE, COLUMNS = 104, 10


def draw() -> Image.Image:
    """Contact sheet in RGB."""
    rows = [[(number, index) for index in range(COLUMNS)] for number in range(5)]
    rows += [[(5 + number // 2, number % 2) for number in range(first, first + COLUMNS)] for first in (0, COLUMNS)]
    sheet = Image.new("RGB", (COLUMNS * SIDE, len(rows) * SIDE))
    for row, images in enumerate(rows):
        for column, (species, index) in enumerate(images):
            sheet.paste(draw_flower(species, index, size=SIDE), (column * SIDE, row * SIDE))
    return sheet


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("demo-data.jpg"), quality=75, optimize=True)
