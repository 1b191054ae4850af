"""Experiments: `python -m experiments.NAME --flag=value`, or `run(Config(...))`."""

from experiments import guard

guard.begin()
