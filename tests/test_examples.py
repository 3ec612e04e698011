"""The notebooks run from their first cell to their last, and the recipes resolve."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from doubles import swap
from kit import settings
from kit.config import RunConfig
from kit.settings import load_config

EXAMPLES = Path(__file__).parent.parent / "examples"
RECIPES = [*sorted(EXAMPLES.glob("*.toml")), *settings.RECIPES.values()]


def code_cells() -> list[str]:
    """The source of each code cell."""
    notebook = json.loads((EXAMPLES / "flowers.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["language"]) == (4, "python")
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict) -> object:
    """Runs a cell; returns what Jupyter would show: the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return None if shown is None else eval(compile(ast.Expression(shown.value), "<cell>", "eval"), names)


@pytest.mark.full
def test_the_notebook_tells_its_story(tmp_path, monkeypatch, toy_weights, capsys):
    """With fewer images, a smaller network and shorter phases; every cell but the first as it stands."""
    import kit
    from kit.synthetic import write_data_set

    monkeypatch.chdir(tmp_path)
    swap(
        *(monkeypatch, "kit.synthetic", "write_data_set"),
        lambda folder, data: write_data_set(folder, replace(data, per_class=24, size=64)),
    )
    small = {"backbone": "toy", "image_size": 32, "head_epochs": 2, "fine_tune_epochs": 1, "views": 1}
    small["unfreeze_depth"] = 1
    configure = kit.configure
    swap(monkeypatch, "kit.api", "configure", lambda data, **settings: configure(data, **{**settings, **small}))
    first, *cells = code_cells()
    assert first == 'DATA, WEIGHTS = "flowers", "imagenet"  # or "demo", "starter"'
    names = {"DATA": "demo", "WEIGHTS": str(toy_weights)}
    shown = [run_cell(cell, names) for cell in cells]
    figures = [one for one in shown if hasattr(one, "to_plotly_json")]
    classes, images, accuracy, loss, grid = figures
    assert sum(len(trace.x) for trace in classes.data) == 120
    assert len(classes.data) == 5
    assert len(images.data) == 16
    assert [trace.name for trace in (*accuracy.data, *loss.data)] == ["accuracy", "val_accuracy", "loss", "val_loss"]
    run = names["run"]
    tested = run.predictions.query("split == 'test'")
    assert len(grid.data) == min(32, len(tested))
    titles = {note.text for note in grid.layout.annotations}
    true, said = tested.iloc[0][["label", "predicted"]]
    assert any(title.startswith(f"{true} / {said}") for title in titles)
    assert f"fine-tuned {run.metrics['test']['accuracy']:.3f} [" in capsys.readouterr().out
    path, label, confidence, page = shown[-1]
    assert (label in run.classes, path.endswith(".jpg"), 0 < confidence <= 1) == (True, True, True)
    assert (run.path / page).exists()


@pytest.mark.parametrize(("name", "plots", "photos"), [("own_images.ipynb", 3, 0), ("flowers.ipynb", 3, 2)])
def test_a_notebook_is_stored_as_one_run_from_top_to_bottom_left_it(name, plots, photos):
    notebook = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    for kind, count in (("image/png", plots), ("image/jpeg", photos)):  # a code host runs no scripts
        assert sum(kind in output.get("data", {}) for output in outputs) == count
    images = {"image/png": "", "image/jpeg": ""}
    text = json.dumps([{**output, "data": {**output.get("data", {}), **images}} for output in outputs])
    assert re.findall(r"/(?:home|root|work|tmp|Users)/", text) == []
    assert (EXAMPLES / name).stat().st_size < 1_000_000


def test_there_are_four_recipes():
    assert [path.stem for path in RECIPES] == ["default", "notebook", "best", "quick"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_resolves_and_says_command_data_time_and_accuracy(path):
    text = path.read_text(encoding="utf-8")
    for word in ("# Command:", "# Data:", "# Expect:", "# Time:"):
        assert word in text
    assert (f"--config examples/{path.name}" if path.parent == EXAMPLES else f"--recipe {path.stem}") in text
    assert len(load_config(file=path).phases) == 2


def test_the_defaults_written_out_are_the_defaults():
    assert load_config(file=EXAMPLES / "default.toml") == RunConfig()
