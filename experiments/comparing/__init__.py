"""Comparisons in paired seeds: rows, shared banks, claims, tables."""
