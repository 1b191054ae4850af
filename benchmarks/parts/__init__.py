"""What the benchmarks share.

cases         methods that are ready to step, on random tensors: read this first
draws         the random numbers of our side, for the reference
flops         floating-point operations of a step
operations    XLA's trace, sorted by what an instruction does
output        tables and files
timing        seconds and memory of a program
"""
