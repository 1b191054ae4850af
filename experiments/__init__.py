"""Experiments: `python -m experiments.NAME --flag=value`, or `run(Config(...))`."""

from experiments.console import guard

guard.begin()
