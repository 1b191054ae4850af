"""What combines with every method that takes steps.

sdc           the difficulty correction; `terms` are penalties with a weight
curriculum    which real samples are in play, from easy to hard (FIEX)
masks         which entries are matched (FIEM); `depth` knows how deep they lie
segments      distillation in segments (D4A)
judges        networks that decide what a later segment is distilled from
forgetting    D4A's term against forgetting
"""
