"""Comparisons in paired seeds.

From the bottom up: `lists` (flags with commas), `pairs` (statistics and tables),
`methods` (what a method is), `flags` (flags of every comparison), `groups` (rows and
their runs), `shared_banks` and `comparison` (the skeleton of a program). `pad_rows`
belongs to `pad`; `sdc_rows`, `claims` and `sdc_results` to `sdc`; `d4a_results` to
`d4a`; `cells` and `filling` to `matrix`.
"""
