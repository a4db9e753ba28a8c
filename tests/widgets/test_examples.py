"""The examples in the widgets' docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import helixlab_widgets

MODULES = [module.name for module in pkgutil.walk_packages(helixlab_widgets.__path__, "helixlab_widgets.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
