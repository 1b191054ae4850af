"""How good a set is: fresh networks on it, beside random real subsets.

protocol      `Protocol` and `Judge`, which trains and measures: read this first
hits          answers of networks that are measured already, so that a run resumes
statistics    mean and standard deviation of accuracies
reopening     finds the data of an artifact again, or opens other data
run           an artifact on any network; `result` is its outcome
api           `jaxdd.evaluate`, the same in one call
history       earlier results in evaluation.json
"""
