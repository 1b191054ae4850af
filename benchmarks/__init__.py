"""What things cost, measured. Not part of the test command."""
