"""Synthetic volumes with exact voxel counts."""
