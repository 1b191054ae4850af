"""How hard samples are, by every score."""
