"""How good a set is: fresh networks on it, beside random real subsets.

protocol      `Protocol` and `Judge`, which trains and measures: read this first
hits          answers of networks that are measured already, so that a run resumes
reopening     finds the data of an artifact again, or opens other data
run           an artifact on any network; `result` is its outcome
api           `jaxdd.evaluate`, `jaxdd.referee` and `jaxdd.probe`, each in one call
history       earlier results in evaluation.json

The referee compares sets with each other, with selected samples and with all data:

options       its flags; `opening` checks them, and reads the sets and their data
rows          sets of images and their labels; `teacher` labels images
whole         networks on all training data
rates         the learning rate of an architecture
cells         networks that are measured; `work` is all that is computed
referee       a table, measured and stored; `verdict` is its outcome
tables        earlier tables in referee.json

And `probing` measures how hard sets are, for which networks; `probed` is its outcome.
"""
