"""What combines with every method: SDC, FIEX, FIEM and D4A."""
