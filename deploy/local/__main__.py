"""`python -m deploy.local`: play the whole story on this machine."""

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.local.doors import certificates, doors
from deploy.local.failures import StepFailed
from deploy.local.scene import Scene
from deploy.local.sites import FULL, SMALL
from deploy.local.stage import Stage
from deploy.local.story import Setting, play

_CONSOLE = Console(stderr=True, highlight=False)


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder with real DICOM studies (folders or zips) to send as well.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where everything is written; emptied first.")] = Path("var/demo"),
    *,
    keep: Annotated[
        bool, typer.Option(help="Leave the network up until Ctrl-C and print addresses and log-ins.")
    ] = False,
    small: Annotated[bool, typer.Option(help="Fewer sites, studies and rounds: what `make test` plays.")] = False,
) -> None:
    """Play the story of a whole network on one machine and write summary.json and report.html."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it starts in the background ignore SIGINT
        signal.signal(number, _end)
    if data is not None and not data.exists():
        _CONSOLE.print(f"[red]There is no folder {data}.[/] Name one that holds DICOM studies or zips of them.")
        raise typer.Exit(2)
    setting = Setting(
        cast=SMALL if small else FULL, out=out.resolve(), data=data.resolve() if data else None, keep=keep
    )
    try:
        facts = play(setting, Stage(_CONSOLE), when_kept=_keep)
    except StepFailed as failure:
        _CONSOLE.print(f"[red]✗[/] {failure.what}")
        raise typer.Exit(2) from failure
    except KeyboardInterrupt as interrupt:
        _CONSOLE.print("Interrupted: every program has been ended.")
        raise typer.Exit(130) from interrupt
    if facts["failure"]:
        _CONSOLE.print(
            f"[red]✗ {facts['failure']['step']}[/]: {facts['failure']['what']}\n  logs: {facts['failure']['logs']}"
        )
        raise typer.Exit(1)
    _CONSOLE.print(
        f"[green]Every step held[/] in {facts['total_seconds']:.0f} s. {setting.out}/report.html shows it, summary.json has the numbers."
    )


def _keep(scene: Scene) -> None:
    """Print where everything is, and wait for Ctrl-C."""
    table = Table("who", "where", "log in with", title="The network is up. Ctrl-C ends it.", title_justify="left")
    for door in doors(scene):
        table.add_row(door.who, door.where, door.key)
    _CONSOLE.print(table)
    _CONSOLE.print("Let the browser trust these authorities, or accept its warning:")
    for authority in certificates(scene):
        _CONSOLE.print(f"  {authority}", soft_wrap=True)
    _CONSOLE.print(
        f"Commands: acinus-node --home {scene.out}/SITE/home status, and so on for the centre.", soft_wrap=True
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        _CONSOLE.print("Ending every program.")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
