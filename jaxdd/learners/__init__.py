"""Where the networks come from at which something is matched.

fresh         new random networks that nothing trains: read this first
context       what a source is built for, beside the recipe
passes        any source, with the order of passes over the real samples
pools         networks that are trained between matches, on the set or on real data
aged          networks of staggered ages, trained on the set
windows       students in their training on the set, from a random step on
lessons       new networks that first learn the earlier segments
interpolated  networks between the start and the end of an expert's training
teacher       one trained network for all steps
spans         students that start where an expert was
capabilities  what a source has to have, and may have
"""
