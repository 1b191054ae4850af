"""The command line: flags, several machines, refusals."""
