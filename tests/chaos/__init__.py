"""Servers, workers and their children die at random, and nothing that was accepted may be lost: `make chaos`."""
