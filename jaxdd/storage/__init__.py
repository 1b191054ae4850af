"""What is read from disk and written to it, checked before it is believed.

paths     places that people name
records   JSON files with a schema
arrays    .npz archives with a schema
files     what is written: whole or not at all
"""
