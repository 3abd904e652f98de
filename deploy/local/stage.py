"""What the person at the terminal sees: one line for each step, with a bar and the last thing that happened."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_NOTE_WIDTH = 72


class Stage:
    """Shows the steps on standard error. Without a terminal each step is one printed line when it ends."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}
        self.title = ""
        self._task: TaskID | None = None
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<32}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Show a step for as long as the body runs, and keep its seconds under `name`."""
        self.title, started = title, time.monotonic()
        self._task = self._progress.add_task(title, total=None, note="")
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 2)
        self._progress.update(self._task, total=1, completed=1, note="")
        if not self.console.is_terminal:
            self.console.print(f"✓ {title} ({self.seconds[name]:.1f} s)")

    def expect(self, total: int) -> None:
        """Set how many pieces the present step has; the bar starts from nothing."""
        if self._task is not None:
            self._progress.update(self._task, total=total, completed=0)

    def advance(self, completed: int | None = None) -> None:
        """Move the bar by one, or to `completed`."""
        if self._task is not None:
            moved = {"advance": 1} if completed is None else {"completed": completed}
            self._progress.update(self._task, **moved)  # type: ignore[arg-type] # one of two numbers

    def say(self, note: str) -> None:
        """Show what happens just now beside the bar."""
        if self._task is not None:
            self._progress.update(self._task, note=note[:_NOTE_WIDTH])
