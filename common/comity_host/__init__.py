"""What both daemons need of the machine they run on, and nothing of what they do.

`comity_common` is pure; this is the thin layer above it that touches files and terminals.
"""
