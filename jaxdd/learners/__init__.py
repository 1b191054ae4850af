"""Where the networks come from at which something is matched.

fresh         a new random network in every step, and `Context`: read this first
pools         networks that are trained between matches, on the set or on real data
spans         students that start where an expert was
"""
