"""How updates are combined: arrays in, arrays out. The Flower adapter is flower.py. Imports models and protocol."""
