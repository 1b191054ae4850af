"""What `--plan` prints: the time, memory and disk that a run would need.

plans         the plan of a distillation, of experts, of an evaluation: read this first
scoring       the plan of scores and of an index of easy or hard samples
estimate      the numbers of a plan, and how they are printed
room          memory and disk that are available
advice        which flag to change where something does not fit
programs      compiling and timing one function; trainings of any length
steps         the updates of the images, and measurements along them
networks      evaluation and experts
scores        scores of difficulty
stores        images that are not decoded to the disk yet
distillation  the parts of a run together; `judging` and `files` add theirs
"""
