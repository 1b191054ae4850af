"""What things cost, measured. Not part of the test command."""

import experiments  # noqa: F401  guards the imports that follow
