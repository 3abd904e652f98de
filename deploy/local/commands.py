"""Calls the programs as a person at a shell would: a verb, its arguments, `--json` where an answer is needed."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
            verb = " ".join(str(one) for one in arguments[:2])
            raise StepFailed(f"`{self.program} {verb}` ended with exit code {code}: {_last_line(self.log)}", self.log)
        return output

    def json(self, *arguments: str | Path, seconds: float = 120.0) -> Any:
        """Run a verb with `--json` and return the document it prints.

        Raises:
            StepFailed: If it does not exit with 0 or prints something else.
        """
        output = self(*arguments, "--json", seconds=seconds)
        try:
            return json.loads(output)
        except json.JSONDecodeError as error:
            raise StepFailed(
                f"`{self.program} {arguments[0]} --json` did not print one JSON document", self.log
            ) from error

    def attempt(self, *arguments: str | Path, seconds: float = 120.0) -> tuple[int, str]:
        """Run a verb and return its exit code and standard output."""
        words = [program_path(self.program), "--home", str(self.home), *(str(argument) for argument in arguments)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as errors:
            errors.write(f"$ {self.program} {' '.join(words[3:5])}\n".encode())
            errors.flush()
            try:
                done = subprocess.run(
                    words,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment(self.log.parent),
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise StepFailed(
                    f"`{self.program} {arguments[0]}` took longer than {seconds:.0f} s", self.log
                ) from error
        return done.returncode, done.stdout.decode()


def _last_line(log: Path) -> str:
    """Return the last line a program wrote there: its error says what, where and what to do next."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
