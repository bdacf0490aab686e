"""The report of an audit: what a verified ledger says, for people who have to answer for it.

    facts        what a report says, as data
    gathering    finds it in a verified ledger
    evidence     which clauses of which law these facts are evidence for
    original     the signed original, in canonical JSON
    page         the same for reading: one file in one language or in both
    writing      all of it together

The JSON is the original. The page is made from it alone, so whoever has the one has the other.
"""
