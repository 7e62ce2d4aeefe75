"""Simulations of the theory: data drawn from models whose answers are known."""
