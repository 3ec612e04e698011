"""Exports of smaller numbers, written and run by the real libraries, from a small trained run."""

from importlib.util import find_spec

import pytest

from kit.export import export_run
from kit.export.formats import FORMATS, find_format

pytestmark = [pytest.mark.backend, pytest.mark.full, pytest.mark.once(backend="tensorflow")]

REDUCED = [(one.name, precision) for one in FORMATS for precision in one.precisions[1:]]


@pytest.mark.parametrize(("name", "precision"), REDUCED)
def test_smaller_numbers_make_a_smaller_model_that_answers_much_the_same(run, tmp_path, name, precision):
    missing = [needed for needed in find_format(name).needs if find_spec(needed) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    done = export_run(run, name, tmp_path / "out", precision=precision, allowed_loss=1)
    gate, whole = done.record["gate"], precision == "float16"
    assert 1e-6 < gate["greatest_difference"] < (0.05 if whole else 0.5)
    assert gate["agreement"] >= (0.9 if whole else 0.7)
    trained_on = len(run.samples.query("split == 'train'"))
    assert done.record.get("calibration_images") == (None if whole else trained_on)
    assert f"| numbers | float32 | {precision} |" in (done.path / "README.md").read_text()
