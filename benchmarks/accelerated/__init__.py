"""Sections of `benchmarks.accelerator`: each runs in a process of its own.

budget       time that is left, and records that are on disk as soon as they are made
sizes        what is measured, in full or to try the command out
cases        fixed small inputs of every objective; their numbers from float64 on a CPU
correctness  losses and gradients against these numbers, by precision of products
repeats      whether ten steps give the same bits twice, and what determinism costs
forms        primitives in all forms: how axes are mapped, convolutions, precision
steps        one step of every method, beside the PyTorch loop; memory
longest      the longest operations of two methods' steps
dispatch     how many steps one dispatch should hold
whole        `experiments.distill` on MNIST
sections     files that sections have written, checked
table        the table of all results
advice       what `jaxdd.devices.policy` should say
"""
