"""A whole run, from data to artifact."""
