"""The peak that the benchmark prints is the command's own."""

import subprocess
import sys

WEIGHTY = """
import sys
held = bytearray(300 << 20)
from bench.quantify import watched
for _ in range(2):
    print(watched([sys.executable, "-c", f"held = bytearray({_} * (200 << 20))"])[1])
"""


def test_the_peak_of_a_command_leaves_out_what_its_starter_holds() -> None:
    lines = subprocess.run([sys.executable, "-c", WEIGHTY], check=True, capture_output=True, text=True).stdout.split()
    small, large = map(float, lines)
    assert small < 0.1
    assert 0.19 < large < 0.3
