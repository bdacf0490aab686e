"""What the masked sum costs, each row beside its bar: `python -m tests.bench`.

* What is compared is measured in one run, A and B in turns, and the median of the ratios counts:
  a machine that others use too is slow for both.
* Where the work of a part counts, its CPU seconds are taken; where people wait, wall seconds.
* Memory is the growth of the resident set in a process of its own.

A row is a module with `measure(full, say)`. `docs/benchmarks.md` has the table.
"""
