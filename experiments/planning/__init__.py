"""What `--plan` is made of.

least          what a run surely needs, compared before it begins
room           what there is: memory and disk
plan           the numbers of a plan, and how they are printed
advice         what to change where something does not fit
programs       compiling and timing one function; trainings of any length
steps          the updates of the images, and measurements along them
networks       evaluation, experts and scores
distillation   the parts of a run together; `judging` and `files` add theirs
"""
