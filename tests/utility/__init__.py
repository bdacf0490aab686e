"""What a federation's model is worth: scores on real data with and without privacy, side by side.

`python -m tests.utility` measures, `--tune` repeats the search behind `chosen.json`, and `--write`
puts the tables into docs/utility.md.
"""
