"""The hardware: devices, processes, choices by backend, memory and time.

mesh        all devices in use, over which mapped axes are spread
hosts       several processes that run one program
policy      choices that depend on the device, in one table
precision   names of the precisions of products, and which devices have them
memory      sizes, and the memory of this machine
timing      seconds of a computation, with those of compiling apart
"""
