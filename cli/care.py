"""The commands that take care of what a system keeps (actors/care/ does the work)."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.progress import bar, bars, out, say
from settings import settings

if TYPE_CHECKING:
    from actors.log import Log

app = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False)]
File = Annotated[str, typer.Argument(metavar="FILE|-", help="- is stdin or stdout", show_default=False)]


@app.command("export-log")
def export_log(file: File) -> None:
    """Write the log out as JSON lines, while the server serves."""
    from actors.care import exporting
    from actors.care.failures import file_errors

    with _log() as log, bar("events") as told, file_errors(f"write {file}"):
        if file == "-":
            exported = exporting.export_log(log, sys.stdout.buffer, told)
        else:
            exported = exporting.export_to(log, Path(file), told)
    say.print(f"Wrote {exported.events} events, up to position {exported.position}.")


@app.command("import-log")
def import_log(file: File) -> None:
    """Take a log in that export-log wrote, into an empty database of either kind: all of it, or nothing."""
    from actors.care import importing
    from actors.care.failures import file_errors

    with _new_log() as log, bars() as told, file_errors(f"read {file}"):
        if file == "-":
            imported = importing.import_log(log, sys.stdin.buffer, lambda done: told("bytes", done, 0))
        else:
            with Path(file).open("rb") as opened:
                size = Path(file).stat().st_size
                imported = importing.import_log(log, opened, lambda done: told("bytes", done, size))
    _tell_parked(imported.parked)
    say.print(f"Took in {imported.events} events, up to position {imported.position}. Files are no part of a log:")
    say.print(
        "copy the storage folder too (geti-action check-log --files names what is missing), then start the server."
    )


@app.command("check-log")
def check_log(
    files: Annotated[bool, typer.Option("--files", help="also whether storage and log know the same things")] = False,
    hashes: Annotated[
        bool, typer.Option("--hash", help="also (with --files) whether every byte of every episode is what was saved")
    ] = False,
) -> None:
    """Look whether log, tables and snapshots agree, while the server serves. Changes nothing; exit code 1 if not."""
    from actors.care.check import check_log
    from actors.care.check_files import check_files, check_hashes

    storage = settings().storage_dir
    count = 0
    with _log() as log:
        with bar("events") as told:
            for finding in check_log(log, told):
                count += 1
                typer.echo(finding)
        with bar("files") as told:
            for finding in check_files(log, storage, told) if files or hashes else ():
                count += 1
                typer.echo(finding)
        with bar("bytes") as told:
            for finding in check_hashes(log, storage, told) if hashes and not count else ():
                count += 1
                typer.echo(finding)
        say.print(f"{count} to mend." if count else f"Nothing to mend; the log is at position {log.position()}.")
    sys.exit(1 if count else 0)


@app.command()
def backup(
    folder: Folder,
    copy_files: Annotated[
        bool, typer.Option("--copy-files", help="the files too, by hard links where that is possible")
    ] = False,
) -> None:
    """Write the log and a list of all files, each with its sha256, into a new folder, while the server serves."""
    from actors.care.backup import back_up
    from actors.care.check_files import check_missing

    storage = settings().storage_dir
    with _log() as log, bars() as told:
        label = back_up(log, storage, folder, told, with_files=copy_files)
        lacking = sum(1 for _ in check_missing(log, storage))
    kept = "which are in it too" if label.has_files else "which are not in it: keep them yourself, or add --copy-files"
    say.print(f"Wrote {label.events} events and the list of {label.files} files ({label.size_bytes} bytes), {kept}.")
    if lacking:
        found = f"In {storage} {lacking} things that the log speaks of are missing or not what was saved"
        say.print(f"[red]{found}, so they are not in this backup. geti-action check-log --files names them.[/red]")


@app.command()
def restore(folder: Folder) -> None:
    """Bring a backup into an empty database and an empty storage folder, once all of it is found whole."""
    from actors.care.restoring import restore

    with _new_log() as log, bars() as told:
        imported = restore(log, settings().storage_dir, folder, told)
    _tell_parked(imported.parked)
    say.print(f"Restored {imported.events} events, up to position {imported.position}. Start the server now.")


@app.command()
def adopt(
    folder: Folder,
    project: Annotated[str, typer.Option(help="name or id; made if there is none of that name")] = "Adopted",
    environment: Annotated[str, typer.Option(help="name or id; a simulated cell if there is none")] = "adopted cell",
    name: Annotated[str | None, typer.Option(help="of the dataset", show_default=False)] = None,
    copy: Annotated[bool, typer.Option(help="a folder outside of STORAGE_DIR is copied into it")] = True,
) -> None:
    """Make a dataset known again whose log is lost, from its folder."""
    from actors.care.adopting import Wish, adopt

    with _new_log() as log, bars() as told:
        adopted = adopt(log, settings().storage_dir, folder, Wish(project, environment, name, copy), told)
    for episode, why in adopted.damaged.items():
        todo = "bring it back from a backup, or remove its folder if nobody needs it"
        say.print(f"[red]Episode {episode} is left out: {escape(why)}; {todo}.[/red]")
    say.print(
        f"Adopted {adopted.episodes} episodes of dataset {adopted.dataset_id}, whose version is {adopted.version}."
    )
    sys.exit(1 if adopted.damaged and not adopted.episodes else 0)


@app.command()
def rebuild(
    views: Annotated[
        list[str] | None, typer.Argument(metavar="[VIEW…]", help="all, the claims and the snapshots, if none is named")
    ] = None,
) -> None:
    """Make the query tables anew from the log, while the server serves."""
    from actors.care import losses
    from actors.rebuild import rebuild

    with _log() as log, bar("events") as told:
        rebuilt = rebuild(log, views or (), told)
        if not views:
            losses.forget(log)
        gap = losses.gap(log)
    out.print(f"Rebuilt from {rebuilt.events} events; {rebuilt.replaced} rows differed and were replaced.")
    for name, (_, reason) in rebuilt.poisoned.items():
        out.print(f"[red]{name} is left as it was: {escape(reason)}[/red]")
    if rebuilt.poisoned:
        todo = "Install a release that can read those events, or mend the table that refuses them; then rebuild again."
        out.print(f"[red]{todo}[/red]")
    if gap:
        out.print(f"[red]But the log is not whole: {gap}. The tables are of what is left; {losses.RESTORE}.[/red]")
    sys.exit(1 if rebuilt.poisoned or gap else 0)


@contextmanager
def _log() -> "Iterator[Log]":
    """The log of a database that is this release's."""
    from actors.log import Log
    from projections import schema

    url = settings().database_url
    schema.check(url)
    with closing(Log(url)) as log:
        yield log


@contextmanager
def _new_log() -> "Iterator[Log]":
    """The log of a database that may not be there yet, or be an older release's."""
    from actors.care.opening import open_database
    from actors.log import Log

    url = settings().database_url
    open_database(url, settings().storage_dir, say.print)
    with closing(Log(url)) as log:
        yield log


def _tell_parked(parked: dict[str, str]) -> None:
    for view, reason in parked.items():
        say.print(f"[red]The view {view} is parked: {escape(reason)}. Mend it, then: geti-action rebuild {view}[/red]")
