"""Pages: records -> facts -> figures -> one offline HTML file. Nothing here imports keras.

headline.py curves.py predictions.py confusion.py calibration.py learning.py dataset.py sizes.py findings.py
provenance.py exports.py trials/ compare/
                        each: `*_facts()` (frozen, no plotly), then `*_figure()`, then the section of a page
text.py                 names and numbers as text: names of files and classes are hostile until shown by it
blocks.py               what a section is made of: charts, tables, photos
charts.py               palette and layout that all figures share
run_page.py data_page.py study_page.py compare_page.py     which sections, in which order
page.py  templates/     sections -> HTML, and which page a folder gets
writing.py              `write_report`, the Python API (docs/python-api.md)
cli.py                  `transferkit report`
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.writing import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from reports import writing

        return getattr(writing, name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")
