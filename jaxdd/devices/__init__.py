"""The accelerator: devices, several processes, what is fast where, memory, time."""
