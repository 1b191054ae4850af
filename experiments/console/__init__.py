"""The command line that all programs share.

flags         flags from a dataclass, and `main`: read this first
refusals      one sentence for what the machine refuses
help          the flags of a program by subject, the most needed first
guard         interrupts while the imports last
machines      several processes; `rendezvous` is how they meet
"""
