"""Pages: records -> facts -> figures -> one offline HTML file. Nothing here imports keras.

summary.py curves.py predictions.py confusion.py calibration.py threshold.py image_map.py label_issues.py
learning_curve.py dataset.py sizes.py findings.py network.py provenance.py
                        each: `*_facts()` (frozen, no plotly), then `*_figure()`, then the section of a page
partial_run.py          a run's folder with some records missing
next_steps.py           what to do next, by rules
text.py                 names and numbers as text; names of files and classes are untrusted input
elements.py             elements of a page: sections, charts, tables, thumbnails
links.py                pages of other records that belong to one, both ways
charts.py               palette and layout that all figures share
notebook.py             figures by name and a summary, for notebooks
run_page.py data_page.py evaluation/ trials/ compare/
                        which sections, in which order; of other images than a run's, of a study, of several runs
index_page.py           list of all records under a folder
drawing.py templates/   kind of page by folder, page -> HTML; `write_report` and `write_index`, the Python API
                        (docs/python-api.md)
commands.py             `transferkit report`
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.drawing import write_index, write_report

__all__ = ["write_index", "write_report"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from reports import drawing

        return getattr(drawing, name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")
