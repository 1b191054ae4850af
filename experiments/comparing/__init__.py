"""Comparisons in paired seeds.

From the bottom up: `lists` (flags with commas), `pairs` (statistics and tables),
`methods` (what a method is), `flags` (flags of every comparison), `shared_banks`,
`comparison` (the skeleton of a program). `claims` and `*_results` belong to `sdc` and
`d4a`, `cells` and `filling` to `matrix`.
"""
