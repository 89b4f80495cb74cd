"""Fails unless everything that requirements.txt names is installed, in these versions."""

import importlib.metadata
import pathlib

requirements = pathlib.Path(__file__).parent.parent / "requirements.txt"
for line in requirements.read_text().split():
    name, version = line.split("==")
    installed = importlib.metadata.version(name)
    assert installed == version, f"{name} is {installed}, and not {version}"
