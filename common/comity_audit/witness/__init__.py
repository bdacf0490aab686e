"""A witness that stands alone: a regulator, or anybody else, who remembers heads of ledgers.

It is given audit packages, by whatever way, and cosigns the head of each that goes on from the one
before. It needs no connection and no agreement's consent. An auditor who knows its keys and trusts
it need trust nobody else.
"""
