"""Where the networks come from at which something is matched.

fresh         new random networks that nothing trains, and `Context`: read this first
pools         networks that are trained between matches, on the set or on real data
lessons       new networks that first learn the earlier segments
interpolated  networks between the start and the end of an expert's training
teacher       one trained network for all steps
spans         students that start where an expert was
"""
