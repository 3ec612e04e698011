"""The notebooks in Jupyter, from their first cell to their last, as a reader runs them: by nbclient, in a kernel."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from image_files import make_images

pytestmark = [
    pytest.mark.backend,
    pytest.mark.once(backend="jax"),
    pytest.mark.full,
    pytest.mark.skipif(not (find_spec("nbclient") and find_spec("ipykernel")), reason="needs nbclient and ipykernel"),
    pytest.mark.filterwarnings("default"),  # of Jupyter's own packages
]
EXAMPLES = Path(__file__).parent.parent / "examples"
BAR = "application/vnd.jupyter.widget-view+json"  # of training, where ipywidgets is
FIGURES = {"application/vnd.plotly.v1+json", "image/png", "image/jpeg"}


def executed(name, workplace, monkeypatch, first=None):
    """Cells of code after a kernel ran them in `workplace`; `first` is what a reader typed into the first of them."""
    import nbformat

    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    if first is not None:
        next(cell for cell in notebook.cells if cell.cell_type == "code").source = first
    return ran(notebook, workplace, monkeypatch)


def ran(notebook, workplace, monkeypatch):
    """Cells of code of a notebook after a kernel ran them in `workplace`."""
    from nbclient import NotebookClient

    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    for place in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(place, str(workplace / ".jupyter"))
    resources = {"metadata": {"path": str(workplace)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cells):
    """What each cell shows: figures, texts and tables; lines and bars of training are not counted."""
    shown = []
    for cell in cells:
        data = [output["data"] for output in cell["outputs"] if BAR not in output.get("data", {BAR})]
        shown.append(["figure" if FIGURES & set(one) else "value" for one in data])
    return shown


def printed(cells):
    return "".join("".join(one["text"]) for cell in cells for one in cell["outputs"] if one["output_type"] == "stream")


def stored(name):
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_own_images_as_it_stands_in_a_folder_with_images(tmp_path, monkeypatch):
    make_images(tmp_path / "photos", ("blue", "green", "red"), 20, size=96)
    cells = executed("own_images.ipynb", tmp_path, monkeypatch)
    assert kinds(cells) == kinds(stored("own_images.ipynb")), "what is stored is what running it shows"
    assert "photos/: 3 class folders, 60 files" in printed(cells)
    run = next((tmp_path / "runs").iterdir())
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"
    assert (run / "report.html").exists()
    assert (run / "exports/keras/model.keras").exists()


def test_flowers_with_a_folder_of_that_name_and_the_starter_weights(tmp_path, monkeypatch):
    make_images(tmp_path / "flowers", ("daisy", "roses", "tulips"), 20, size=96)
    cells = executed("flowers.ipynb", tmp_path, monkeypatch, 'DATA, WEIGHTS = "flowers", "starter"')
    assert kinds(cells) == kinds(stored("flowers.ipynb")), "what is stored is what running it shows"
    assert len([one for shown in kinds(cells) for one in shown if one == "figure"]) == 5
    assert "fine-tuned " in printed(cells)
    assert " test photos" in printed(cells)
    (last,) = cells[-1]["outputs"]
    assert "report.html" in last["data"]["text/plain"]


@pytest.mark.skipif(not find_spec("ipywidgets"), reason="needs ipywidgets")
def test_where_ipywidgets_is_training_shows_a_bar_beside_its_lines(tmp_path, monkeypatch):
    from nbformat import v4

    make_images(tmp_path / "photos", ("blue", "red"), 20, size=96)
    settings = 'weights="starter", image_size=96, views=1, head_epochs=2, fine_tune_epochs=1'
    cell = v4.new_code_cell(f'import kit\nrun = kit.train("photos", "run", {settings})')
    cells = ran(v4.new_notebook(cells=[cell]), tmp_path, monkeypatch)
    assert any(BAR in output.get("data", {}) for output in cells[0]["outputs"])
    assert "head 1/2" in printed(cells)
    assert (tmp_path / "run" / "model.keras").exists()
