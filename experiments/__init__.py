"""Experiments: `python -m experiments.NAME --flag=value`, or `run(Config(...))`."""
