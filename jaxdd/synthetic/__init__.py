"""The set that is learned."""
