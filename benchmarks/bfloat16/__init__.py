"""Sections of `benchmarks.precision`.

speed       medians of both precisions in turn
gradients   how far derivatives in bfloat16 are from those in float32
accuracy    the same runs in both precisions, seed by seed
records     what a section leaves, so that a later start goes on
"""
