"""geti-action: serve, demo and record, seed, init-db, rebuild, openapi, and the care for what is kept."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from pydantic import ValidationError
from rich.markup import escape
from sqlalchemy.exc import DatabaseError, OperationalError

from cli import care
from cli.progress import out, say
from domain.errors import DatabaseDamaged, GetiActionError
from launch.claims import CannotStart
from launch.server import await_ready, serve_until_stopped
from projections import database
from projections.embedded import embedded
from settings import PROJECT, NotText, Settings, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(care.app)
SERVER_LOG = ".server.log"  # of a server that a command starts for itself; the dot keeps it out of backups
LAST_LINES = 20


class Truth(StrEnum):
    """A yes or no that is written out, as in ``--with-model=True``."""

    TRUE = "True"
    FALSE = "False"


@app.command()
def serve() -> None:
    """Serve HTTP and WebRTC until Ctrl-C."""
    serve_until_stopped(settings())


@app.command()
def demo(
    steps: Annotated[int, typer.Option(min=1, help="optimizer steps of the training")] = 200,
    episodes: Annotated[int, typer.Option(min=1, help="episodes to record")] = 5,
    rollouts: Annotated[int, typer.Option(min=1, help="rollouts to evaluate by")] = 10,
) -> None:
    """Record, train, export and evaluate in the simulated cell, with the server that runs or one of its own."""
    from client.demo import DemoOptions, run_demo

    with _server(settings()) as url:
        try:
            run_demo(url, DemoOptions(steps, episodes, rollouts), out)
        except KeyboardInterrupt:
            out.print("Stopped. What was recorded and trained so far is kept; a job goes on while its server runs.")
            raise


@app.command()
def record(
    episodes: Annotated[int, typer.Option(min=1, help="episodes to save")] = 10,
    episode_time: Annotated[float, typer.Option(min=0.5, help="seconds an episode lasts")] = 30,
    reset_time: Annotated[float, typer.Option(min=0, help="seconds between two, to put things back")] = 10,
    dataset: Annotated[str | None, typer.Option(help="its name or id; needless where there is just one")] = None,
    task: Annotated[str | None, typer.Option(help="what is shown; the dataset's own otherwise")] = None,
    fps: Annotated[int, typer.Option(min=1, max=120, help="rows a second")] = 30,
    codec: Annotated[str, typer.Option(help="h264, or av1: less space, twice the work")] = "h264",
    crf: Annotated[int | None, typer.Option(help="of the codec: smaller is better and larger")] = None,
) -> None:
    """Record at the bench, one episode after the other, with the server that runs or one of its own."""
    from client.bars import Bars
    from client.recording import RecordingOptions, record_at_the_bench

    options = RecordingOptions(dataset, task, fps, episodes, episode_time, reset_time, codec, crf)
    with _server(settings()) as url, Bars(out) as bars:
        record_at_the_bench(url, options, bars, out.bell)


@app.command()
def seed(
    with_model: Annotated[
        Truth, typer.Option(case_sensitive=False, help="also a small policy, trained if there is none")
    ] = Truth.FALSE,
) -> None:
    """Put the sample project there; repeating changes nothing."""
    from actors.care.opening import open_database
    from actors.gateway import Gateway
    from actors.log import Log
    from actors.sample import gone, make_sample

    url = settings().database_url
    open_database(url, settings().storage_dir, say.print)
    with closing(Log(url)) as log:
        asyncio.run(make_sample(Gateway(log)))
        deleted = gone(log)
    if deleted:
        out.print(f"Of the sample project these were deleted, and stay so: {', '.join(deleted)}.")
        out.print("The button 'Start the sample cell' on the page makes what is missing anew.")
    else:
        out.print("The project 'Sample cell' is there.")
    if with_model is Truth.TRUE:
        if deleted:
            out.print("[red]A model needs the whole sample project; `./run.sh demo` makes one of its own.[/red]")
            sys.exit(1)
        _seed_model()


def _seed_model() -> None:
    from actors.sample import sample_id
    from client.demo import Cell, sample_model

    cell = Cell(*(str(sample_id(thing)) for thing in ("project", "environment", "dataset")))
    with _server(settings()) as url:
        out.print(sample_model(url, cell, out))


@app.command("init-db")
def init_db() -> None:
    """Make or update the tables of DATABASE_URL."""
    from actors.care.opening import open_database
    from actors.log import Log
    from projections import schema

    url = settings().database_url
    open_database(url, settings().storage_dir, say.print)
    with closing(Log(url)) as log, log.engine.connect() as connection:
        wrong = schema.differences(connection)
    for each in wrong:
        out.print(f"The tables are not what they should be: {each}.")
    if wrong:
        out.print("geti-action check-log tells what to do.")
        raise typer.Exit(1)
    out.print("The tables are up to date.")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import orjson

    import serve_app

    sys.stdout.buffer.write(orjson.dumps(serve_app.build().openapi(), option=orjson.OPT_INDENT_2) + b"\n")


@contextmanager
def _server(config: Settings) -> Iterator[str]:
    """The server that runs, or one of our own for as long as it is needed."""
    from client.api import Api

    url = config.address
    if Api(url).is_up():
        yield url
        return
    log = config.storage_dir / SERVER_LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)  # not emptied: whoever still writes to it goes on
    out.print(f"No server runs here; starting one for this. What it says goes to {log}")
    with log.open("xb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"], cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        _await_start(config, process, log)
        yield url
        out.print("The server that was started for this ends now; ./run.sh starts one to look at it.")
    finally:
        process.terminate()
        process.wait(15)


def _await_start(config: Settings, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Raises CannotStart with the last words of a server that does not become ready."""
    try:
        await_ready(config, process.poll)
    except CannotStart as error:
        last = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        raise CannotStart("\n".join([str(error), f"The last lines of {log}:", *last])) from None


@contextmanager
def _damage_told() -> Iterator[None]:
    """Raises DatabaseDamaged where the database is broken, however that was met."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError, psycopg.DatabaseError) as error:
        if (damage := database.damage(error)) is None:
            raise
        raise damage from error


def main() -> None:
    """What a person can mend is told in a line, without a traceback."""
    from client.api import Refused

    try:
        with embedded(), _damage_told():
            app()
    except (CannotStart, NotText, Refused) as error:
        out.print(f"[red]{escape(str(error))}[/red]")
        sys.exit(1)
    except GetiActionError as error:
        where = f"{database.sqlite_path(settings().database_url)}: " if isinstance(error, DatabaseDamaged) else ""
        out.print(f"[red]{escape(where + error.detail)}[/red]")
        sys.exit(1)
    except OperationalError as error:
        out.print(
            f"[red]The database cannot be reached ({' '.join(str(error.orig).split())}). Check DATABASE_URL.[/red]"
        )
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        what = "STORAGE_DIR and the folder of DATABASE_URL must be folders that can be written to"
        out.print(f"[red]{error.strerror}: {error.filename}. {what}.[/red]")
        sys.exit(1)
    except ValidationError as error:
        for problem in error.errors():
            name, why = ".".join(map(str, problem["loc"])).upper(), problem["msg"].removeprefix("Value error, ")
            out.print(f"[red]{name or 'Settings'}: {escape(why)}[/red]")
        sys.exit(1)
