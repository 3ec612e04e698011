"""Sphinx's configuration of the docs' site: `nox -s docs` builds it. Why Sphinx: docs/decisions/0017-docs-site.md.

The pages are plain Markdown that reads well on a code host too. What Sphinx needs beside that is added here while they
are read: the lists of pages in docs/README.md become the site's navigation, HTML anchors become targets, links out of
docs/ become names of files.
"""

import re
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
version = release = PROJECT["version"]
copyright = "the authors of transferkit, Apache-2.0"
root_doc = "README"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {version}"
# The site sends nothing and asks for nothing: no fonts, no scripts of others.
html_show_sourcelink = False

myst_heading_anchors = 4  # the anchors that code hosts give to headings
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
highlight_language = "text"  # of blocks that name none
python_maximum_signature_line_length = 100
add_module_names = False


def _navigation(text: str) -> str:
    """Adds to each section of the front page, invisibly, the list of the pages that its table links to."""
    front, *sections = re.split(r"^(?=## )", text, flags=re.M)
    found = [front]
    for section in sections:
        caption = section.partition("\n")[0].removeprefix("## ")
        pages = re.findall(r"^\| \[[^\]]+\]\(([\w/-]+)\.md\)", section, flags=re.M)
        found.append(section)
        if pages:
            found.append(_toctree(pages, f":hidden:\n:caption: {caption}"))
    return "\n".join(found)


def _toctree(pages: list[str], options: str) -> str:
    return "\n```{toctree}\n" + options + "\n\n" + "\n".join(pages) + "\n```\n"


def _without_links_out(text: str, folder: Path) -> str:
    """Names what lies in the checkout and not on the site, in place of a link to it."""

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if not target.exists() or target.is_relative_to(DOCS):
            return link[0]
        return f"{link[1]} (`{target.relative_to(ROOT).as_posix()}` in the checkout)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((\.\.[^)#]*)(?:#[^)]*)?\)", named, text)


def _read(app, name: str, source: list[str]) -> None:
    text = re.sub(r'^<a id="([\w-]+)"></a>\n', r"(\1)=\n", source[0], flags=re.M)
    text = _without_links_out(text, Path(app.env.doc2path(name)).parent)
    if name == root_doc:
        text = _navigation(text)
    if name == "decisions/README":
        text += _toctree(["[0-9]*"], ":glob:")
    source[0] = text


def _read_docstring(app, kind: str, name: str, what, options, lines: list[str]) -> None:
    """Docstrings are written as the pages are: `code`, and an indented example behind an empty line."""
    found: list[str] = []
    for line in lines:
        if line.startswith("    ") and found and not found[-1]:
            found += [".. code-block:: python", ""]
        found.append(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line))
    lines[:] = found


def setup(app) -> None:
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _read_docstring, priority=400)  # before napoleon
