"""What things cost, measured. Not part of the test command."""

import time

BEGAN = time.monotonic()  # before the imports that follow, which take seconds

import experiments  # noqa: E402, F401  guards the imports that follow
