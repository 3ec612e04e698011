"""What README.md and docs/ tell people to type is typed here, page by page, each page in a folder of its own.

Shell blocks run line by line, Python blocks one after the other with shared names. A block that cannot run on one
machine without network has its reason on the line above it: `<!-- not run: needs several machines -->`.
"""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from image_files import make_images
from in_process import command  # noqa: F401  # a fixture

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"(?:^<!-- not run: (?P<why>.+?) -->\n+)?^```(?P<kind>sh|python)\n(?P<text>.*?)^```$", re.M | re.S)

# A schedule that trains the toy network in a second.
TINY = {
    "MODEL__BACKBONE": "toy",
    "MODEL__WEIGHTS": "none",
    "MODEL__HEAD_UNITS": "8",
    "DATA__IMAGE_SIZE": "32",
    "VIEWS__COUNT": "1",
    "PHASES__0__EPOCHS": "2",
    "PHASES__1__EPOCHS": "1",
    "PHASES__1__UNFREEZE_DEPTH": "1",
}
SPACE = "phases.1.unfreeze_depth = { low = 0, high = 2 }"  # the toy has few blocks
# What stands for what it costs, or for what not every machine has.
STAND_INS = {
    "--trials 20": "--trials 2 --space space.toml",
    "--trials 40": "--trials 3 --space space.toml",
    "--seeds 3": "--seeds 2",
    "trials=2": 'trials=2, space="space.toml"',
    "--per-class 200": "--per-class 3",
    "demo-data photos": "demo-data photos --per-class 8 --size 48",
    "--backbone mobilenet_v3_small": "--backbone toy",
    "--format web": "--format keras",  # Chromium, and what npm has
    "--weights starter": "--weights none",  # the starter weights are MobileNetV2's; `nox -s package` trains on them
    # Python reads no environment: the toy, as in TINY
    'weights="starter"': 'weights="none", backbone="toy", image_size=32, head_units=8, unfreeze_depth=1',
    "head_epochs=20, fine_tune_epochs=10": "head_epochs=2, fine_tune_epochs=1",
    "KERAS_BACKEND=tensorflow": f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND', '')}",
    "--backend tensorflow": f"--backend {os.environ.get('KERAS_BACKEND', '')}",
}


class Block(NamedTuple):
    """A fenced block: `sh` or `python`, its text, and why it is not run ('' where it is)."""

    kind: str
    text: str
    why: str


def blocks_of(page: Path) -> list[Block]:
    """The shell and Python blocks of a page, in order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(block["kind"], block["text"], block["why"] or "") for block in found]


def commands_of(text: str) -> list[list[str]]:
    """The words of each command of a shell block; lines are joined at a backslash, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def with_stand_ins(text: str) -> str:
    """A block with the stand-ins in it."""
    for shown, run in STAND_INS.items():
        text = re.sub(rf"{re.escape(shown)}(?![\w-])", run, text)
    return text


@pytest.fixture
def place(tmp_path, images, toy_weights, monkeypatch):
    """The folder in which a page's commands run, with all that the pages speak of."""
    (tmp_path / "path/to").mkdir(parents=True)
    shutil.copytree(images, tmp_path / "path/to/photos")
    make_images(tmp_path / "other/photos", ("blue", "green", "red"), 2, seed=1)
    make_images(tmp_path, ("holiday",), 2, seed=2)
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "corrections.csv").write_text("path,label,action,new_label\nred/0001.jpg,red,relabel,blue\n")
    shutil.copy(images / "red/0000.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    for key, value in TINY.items():
        monkeypatch.setenv(f"TRANSFERKIT_{key}", value)
    return tmp_path


@pytest.mark.once(backend="jax")
@pytest.mark.full
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda page: page.name)
def test_what_a_page_tells_people_to_type_works(page, place, command, monkeypatch):  # noqa: F811
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.why:
            continue
        text = with_stand_ins(block.text)
        if block.kind == "python":
            exec(compile(text, str(page), "exec"), names)
            continue
        for words in commands_of(text):
            run_line(words, command, monkeypatch)


def run_line(words: list[str], command, monkeypatch) -> None:  # noqa: F811
    """Runs one line: `NAME=VALUE` in front is for this line alone."""
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            name, value = words.pop(0).split("=", 1)
            patch.setenv(name, value)
        assert words[0] == "transferkit", f"not a command of ours, and not marked as not run: {shlex.join(words)}"
        done = command(*words[1:])
    assert done.status == 0, f"{shlex.join(words)}\n{done.out}\n{done.err}"


def test_a_block_that_is_not_run_says_why():
    page = "<!-- not run: needs two machines -->\n```sh\ncreatedb\n```\n\n```sh\ntransferkit doctor  # all\n```\n"
    found = [Block(block["kind"], block["text"], block["why"] or "") for block in FENCE.finditer(page)]
    assert found == [Block("sh", "createdb\n", "needs two machines"), Block("sh", "transferkit doctor  # all\n", "")]
    assert commands_of("a 'b c' \\\n  d  # e\n\n# f\n") == [["a", "b c", "d"]]
    assert with_stand_ins("--trials 200 --trials 20") == f"--trials 200 {STAND_INS['--trials 20']}"
