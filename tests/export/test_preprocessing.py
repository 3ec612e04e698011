"""preprocessing.py of an export makes the very pixels that the run's decoder makes, from preprocessing.json."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

from awkward_images import IMAGES
from kit.data.images import decode
from kit.export import export_run
from kit.export.package import preprocessing_facts
from kit.files import write_json
from kit.run import Run

pytestmark = [pytest.mark.backend, pytest.mark.once(backend="tensorflow")]

SETTINGS = [
    {},
    {"resize": "pad", "background": (10, 200, 30)},
    {"resize": "stretch", "colour_profiles": False, "grey_range": ()},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=["as the run", "padded", "as an early run"])
def test_the_pixels_are_those_of_the_run(run, answers, tmp_path, settings):
    folder = export_run(run, "keras", tmp_path / "out").path
    data = replace(run.config.data, **settings)

    class Changed(Run):
        @property
        def config(self):
            return replace(run.config, data=data)

    write_json(folder / "preprocessing.json", preprocessing_facts(Changed(run.path), [], {"threshold": 0.0}))
    spec = spec_from_file_location("preprocessing", folder / "preprocessing.py")
    preprocessing = module_from_spec(spec)
    spec.loader.exec_module(preprocessing)
    for name, content in IMAGES.items():
        (tmp_path / name).write_bytes(content)
        pixels = preprocessing.load_pixels(tmp_path / name)
        np.testing.assert_array_equal(pixels, decode(content, data), err_msg=name)
