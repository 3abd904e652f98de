"""The arithmetic of secure summation."""
