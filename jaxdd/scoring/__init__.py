"""All samples of a dataset scored by difficulty, and the easiest or hardest kept.

api         `jaxdd.difficulty`: the scores, with pictures; `result` is its result
measuring   networks and scores, the same for both
pruning     `jaxdd.prune`: some samples by score; `pruned` is its result
files       `scores.npz`, as other runs take it
"""
