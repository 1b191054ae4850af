"""The steps of a method.

loop          many steps in one compiled program: read this first
resume        the same with checkpoints, metrics and signals
schedule      when such a run logs, measures and saves, and what it calls
state         what it holds, and what it ends with
spans         the spans of experts, read ahead of the steps
"""
