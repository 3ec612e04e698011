"""Save a model so that older versions of Keras load it.

Keras writes every argument of a layer, and an older Keras refuses those that it does not know. What this Keras writes
and Keras 3.5 lacks is left out where it has its default, which then says the same.
"""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

LATER = {
    "input_axes": None,
    "output_axes": None,
    "quantization_config": None,
    "renorm": False,
    "renorm_clipping": None,
    "renorm_momentum": 0.99,
}


def save_model(model: "keras.Model", path: Path) -> None:
    """Write a `.keras` file that Keras 3.5 loads as well (a MobileNetV2); `path` is replaced at the end."""
    whole = path.with_name(f".tmp-whole-{path.name}")
    try:
        model.save(whole)
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.infolist():
                if member.filename == "config.json":
                    new.writestr(member, json.dumps(without_later(json.loads(old.read(member)))))
                else:
                    with old.open(member) as source, new.open(member, "w") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
    finally:
        if os.path.exists(whole):
            os.remove(whole)


def without_later(config: Any) -> Any:
    """Configuration without the arguments of LATER that have their defaults."""
    if isinstance(config, list):
        return [without_later(part) for part in config]
    if not isinstance(config, dict):
        return config
    return {
        name: without_later(value)
        for name, value in config.items()
        if name not in LATER or value != LATER[name] or isinstance(value, bool) != isinstance(LATER[name], bool)
    }
