"""Readers of foreign formats, one file each: content of a container -> `Foreign`."""
