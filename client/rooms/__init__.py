"""The node's rooms, opened from its settings: stores, ledgers, shelves, books. It alone builds connections.

Each call opens a connection of its own: SQLite's may not be shared between threads.
"""
