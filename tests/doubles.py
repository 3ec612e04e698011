"""Stand-ins that refuse every call that what they stand for would refuse."""

from collections.abc import Callable
from importlib import import_module
from typing import Any
from unittest.mock import create_autospec

import pytest


def swap(patch: pytest.MonkeyPatch, owner: Any, name: str, function: Callable) -> None:
    """Replaces a function or method by another one, behind the signature of the original.

    Args:
        patch: Puts the original back.
        owner: The module or class that holds it; a module's name will do.
        name: Of the attribute.
        function: Answers the calls; that of a method takes `self` first.
    """
    owner = import_module(owner) if isinstance(owner, str) else owner
    original = getattr(owner, name)
    original = getattr(original, "stands_for", original)  # swapped before
    double = create_autospec(original, side_effect=function)
    double.stands_for = original
    patch.setattr(owner, name, double)
