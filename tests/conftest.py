"""Lets every test import the simulated parties: `from tests.simulation.federation import World`."""
