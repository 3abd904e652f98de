"""The arithmetic of secure summation that sites and centre share: terms, grid, shares, pads, keys. Imports protocol; no Flower, no torch."""
