"""Fuzzing of everything that reads what somebody else wrote: `make fuzz`, see docs/fuzzing.md.

`registry.TARGETS` is the one list. A target makes valid samples with the code itself, in a
directory of its own, and reads hostile variants of them; what it may raise stands beside it.
`make test` tries each for a moment, `make fuzz` for as long as one likes, guided by coverage
where there is atheris.
"""
