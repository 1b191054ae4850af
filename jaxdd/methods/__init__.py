"""A method is one choice on every axis; the published methods are recipes.

recipe        `Recipe`, the choices: read this first
recipes       the published methods
build         from a recipe to a method
assembly      `make_method` composes an objective, a source, a decoder and an optimiser
presets       what depends on dataset and ipc; `published` has the tables of the papers
masking       what a mask leaves out, as a sentence
network       the network of a run, by name and size
"""
