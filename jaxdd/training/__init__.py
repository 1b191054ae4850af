"""Training of networks, and their evaluation.

fit        the one training loop
gsam       adaptive GSAM as an optax transformation
evaluate   accuracy of fresh networks that are trained on a set
"""
