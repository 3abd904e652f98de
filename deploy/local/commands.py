"""Calls the programs as a person at a shell would: a verb, its arguments, `--json` where an answer is needed."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from deploy.local.failures import StepFailed
from deploy.local.network import environment, program_path


@dataclass(frozen=True, slots=True)
class CommandLine:
    """One installed program with its home folder. Everything it says on standard error is kept in `log`."""

    program: str
    home: Path
    log: Path

    def __call__(self, *arguments: str | Path, seconds: float = 120.0) -> str:
        """Run a verb and return its standard output.

        Raises:
            StepFailed: If it does not exit with 0, or not within `seconds`.
        """
        code, output = self.attempt(*arguments, seconds=seconds)
        if code != 0:
            raise self.failed(" ".join(str(one) for one in arguments[:2]), code)
        return output

    def json(self, *arguments: str | Path, seconds: float = 120.0) -> Any:
        """Run a verb with `--json` and return the document it prints.

        Raises:
            StepFailed: If it does not exit with 0 or prints something else.
        """
        return self.document(self(*arguments, "--json", seconds=seconds), verb=str(arguments[0]))

    def document(self, output: str, *, verb: str) -> Any:
        """Return the one JSON document that `verb` printed.

        Raises:
            StepFailed: If it is none.
        """
        try:
            return json.loads(output)
        except json.JSONDecodeError as error:
            raise StepFailed(f"`{self.program} {verb} --json` did not print one JSON document", self.log) from error

    def failed(self, verb: str, code: int) -> StepFailed:
        """Return how a step says that `verb` ended with another exit code than 0."""
        return StepFailed(f"`{self.program} {verb}` ended with exit code {code}: {_last_line(self.log)}", self.log)

    def attempt(self, *arguments: str | Path, seconds: float = 120.0) -> tuple[int, str]:
        """Run a verb and return its exit code and standard output.

        Raises:
            StepFailed: If it does not end within `seconds`.
        """
        with self.running(*arguments) as running:
            try:
                code = running.child.wait(timeout=seconds)
            except subprocess.TimeoutExpired as error:
                raise StepFailed(
                    f"`{self.program} {arguments[0]}` took longer than {seconds:.0f} s", self.log
                ) from error
            return code, running.output()

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator["Running"]:
        """Start a verb; when the body is left, by Ctrl-C too, it has ended."""
        words = [program_path(self.program), "--home", str(self.home), *(str(argument) for argument in arguments)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as errors, TemporaryFile() as output:
            errors.write(f"$ {self.program} {' '.join(words[3:5])}\n".encode())
            errors.flush()
            child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment(self.log.parent)
            )
            try:
                yield Running(child, output)
            finally:
                child.kill()
                child.wait()


@dataclass(frozen=True, slots=True)
class Running:
    """A verb that has been started."""

    child: "subprocess.Popen[bytes]"
    printed: IO[bytes]

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.child.poll() is not None

    def output(self) -> str:
        """Return what it has printed on standard output so far."""
        self.printed.seek(0)
        return self.printed.read().decode()


def _last_line(log: Path) -> str:
    """Return the last line a program wrote there: its error says what, where and what to do next."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
