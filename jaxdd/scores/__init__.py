"""Difficulty scores per sample: `table.SCORES` is the one list of them.

outputs     from one forward pass
gradients   from a sample's gradient by all parameters
fisher      from the model's own Fisher matrix
influence   how much training on a sample lowers its own loss
forgetting  from a whole training run
table       every score by name, and what it needs
dataset     several scores of all samples of a dataset
selection   the samples that a score, herding or k-centre choose
watched     work on a few networks at a time, whose progress can be watched
ensemble    averages over networks, and the training of these networks
probes      the difficulty of a synthetic set among real samples
ranks       rank correlation of scores, percentile of a value
"""
