"""The steps of a method.

loop          many steps in one compiled program: read this first
resume        the same with checkpoints, metrics and signals
"""
