"""Lets every test import the simulated parties: `from tests.simulation.federation import World`.

Hypothesis gives no test a deadline: how fast an example runs is the machine's affair.
"""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
