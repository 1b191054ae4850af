"""A choice on every axis, and the published ones."""
