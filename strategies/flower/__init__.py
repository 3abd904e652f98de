"""The one place that touches Flower's private modules, pinned to 1.41; `tests/contract/test_flower.py` turns red when a new Flower no longer fits.

Everything else of ours sees what is defined here. What the messages hold is in `strategies/message.py`. Each side loads what it needs of
Flower and no more, so nothing is gathered here.
"""
