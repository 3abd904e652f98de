"""The one place that touches Flower's private modules, pinned to 1.41; `tests/contract/test_flower.py` turns red when a new Flower no longer fits.

Everything else of ours sees what is defined here. What the messages hold is in `strategies/message.py`. Each side loads what it needs of
Flower and no more, so nothing is gathered here.
"""

FOLDER_VARIABLE = "ACINUS_PIECES"
"""Environment variable of Flower's own processes and their children: the folder of `pieces.py`. Without it bytes go all the way."""

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment in which no Flower process of ours asks anybody on the network anything, or installs anything."""

KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(64 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024)}
"""Environment in which a process keeps up to 256 MiB that it has freed, mallopt(3), for weights come again every round.

Otherwise glibc gives them back and takes them anew, page by page, each time they are copied: a seventh of what a round costs beyond its training.
"""

PIECE_BYTES = 24 * 1024 * 1024
"""The most weights in one record: each is a request on each of four ways, and costs more there than its megabytes do (ADR 0098). The fleet
gateway lets requests of 32 MiB through as it comes, and cannot be set to let less through than a record."""
