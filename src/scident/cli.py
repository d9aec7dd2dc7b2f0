"""The command line: one command per stage, and list, fetch, check, explain, new, schema."""

import json
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scident import __version__
from scident import log as logs
from scident.errors import ConfigError, ScidentError

app = typer.Typer(
    help="Does a single-cell perturbation model recover the causal factors?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Spec = Annotated[str, typer.Option(help="What to do, as JSON; the workflow writes it.")]
Attempt = Annotated[int, typer.Option(help="Which attempt this is; a killed job is tried again.")]
Attempts = Annotated[int, typer.Option(help="How many attempts there are.")]
File = Annotated[Path, typer.Option(help="A file or folder of the flow, see docs/flow.md.")]
Files = Annotated[
    list[Path], typer.Argument(help="Data files of all replicates in order, then their *.truth.h5ad if used.")
]
Cache = Annotated[Path, typer.Option(envvar="SCIDENT_CACHE", help="Folder for downloads.")]
CACHE = Path("~/.cache/scident")
Config = Annotated[str, typer.Option(help="The configuration as JSON.")]


Task = dict[str, Any]


def main() -> None:
    """Run a command; a user's mistake ends in one sentence and exit status 1."""
    logs.set_up()
    try:
        app()
    except ScidentError as error:
        notes = [f" ({note})" for note in getattr(error, "__notes__", [])]
        typer.echo(f"scident: {error}{''.join(notes)}", err=True)
        sys.exit(1)
    except FileNotFoundError as error:
        typer.echo(f"scident: there is no such file: {error.filename or error} (seen from {Path.cwd()})", err=True)
        sys.exit(1)


def _object(text: str, option: str) -> Task:
    """Read the JSON object an option holds."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{option}: not JSON ({error}), found {text[:40]!r}; copy the command as `snakemake -p` prints it"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{option}: must be a JSON object, found {text[:40]!r}")
    return found


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Print the version or run a command."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def data(
    spec: Spec,
    replicate: Annotated[int, typer.Option(help="Number of the replicate.")],
    out: File,
    truth: Annotated[Path | None, typer.Option(help="Where the truth goes, if there is one.")] = None,
    cache: Cache = CACHE,
) -> None:
    """Load or simulate one replicate of a dataset."""
    from scident.stages import data as stage

    stage.run(_object(spec, "--spec"), replicate, out, truth, cache.expanduser())


@app.command()
def split(spec: Spec, parts: File, train: File, digest: File, files: Files) -> None:
    """Cut the cells of a dataset into parts."""
    from scident.stages import split as stage

    stage.run(_object(spec, "--spec"), files, parts, train, digest)


@app.command()
def train(
    spec: Spec,
    data: File,
    out: File,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder where members are kept between runs.")] = None,
    attempt: Attempt = 1,
    attempts: Attempts = 1,
) -> None:
    """Train the members of one shard; the outputs always exist afterwards, failed or not."""
    from scident.guard import Job

    def work(task: Task) -> None:
        from scident.stages import train as stage

        stage.run(task, data, out, checkpoints)

    def write_failed(task: Task, reason: str) -> None:
        from scident.stages import train as stage

        stage.write_failed(task, out, reason)

    raise typer.Exit(Job(work, write_failed).run(_object(spec, "--spec"), attempt >= attempts))


@app.command()
def infer(
    spec: Spec, train: File, parts: File, out: File, files: Files, attempt: Attempt = 1, attempts: Attempts = 1
) -> None:
    """Let trained members say what they give; the output always exists afterwards, failed or not."""
    from scident.guard import Job

    def work(task: Task) -> None:
        from scident.stages import infer as stage

        stage.run(task, train, *_sorted_out(files), parts, out)

    def write_failed(task: Task, reason: str) -> None:
        from scident.stages import infer as stage

        stage.write_failed(task, out, reason)

    raise typer.Exit(Job(work, write_failed).run(_object(spec, "--spec"), attempt >= attempts))


@app.command()
def score(
    spec: Spec,
    infer: File,
    parts: File,
    out: File,
    aligned: File,
    files: Files,
    attempt: Attempt = 1,
    attempts: Attempts = 1,
) -> None:
    """Score one model on one split; every metric gets its rows, whatever happens."""
    from scident.guard import Job

    def work(task: Task) -> None:
        from scident.stages import score as stage

        observed, truth = _sorted_out(files)
        shards = [infer / f"s{shard}" for shard in range(task["shards"])]  # others are left from another cut
        stage.run(task, shards, observed, truth, parts, out, aligned)

    def write_failed(task: Task, reason: str) -> None:
        from scident.stages import score as stage

        stage.write_failed(task, out, aligned, reason)

    raise typer.Exit(Job(work, write_failed).run(_object(spec, "--spec"), attempt >= attempts))


def _sorted_out(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return (data files, truth files)."""
    truth = [f for f in files if f.name.endswith(".truth.h5ad")]
    return [f for f in files if f not in truth], truth


@app.command()
def aggregate(config: Config, results: File, out: File) -> None:
    """Gather all scores, also of a benchmark that is not complete."""
    from scident.stages import aggregate as stage

    stage.run(_plan(config), results, out)


@app.command()
def report(config: Config, aggregate: File, out: File) -> None:
    """Write the report."""
    from scident.stages import report as stage

    stage.run(_plan(config), aggregate, out)


def _plan(config: str) -> dict[str, Any]:
    from scident import config as configuration
    from scident.plan import Plan

    return Plan(configuration.load(_object(config, "--config"), deep=False)).describe()


def _yaml(path: Path) -> str:
    """Read a YAML file as JSON."""
    import yaml

    try:
        return json.dumps(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--configfile: cannot read {str(path)!r}: {reason}; name a YAML file") from error


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="models, metrics, datasets, simulators, splits or failed.")],
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    configfile: Annotated[Path | None, typer.Option(help="List failed jobs of this configuration only.")] = None,
    cache: Cache = CACHE,
) -> None:
    """List the plug-ins of a kind, or the jobs that failed."""
    from scident.listing import failed_jobs, plugin_table

    if what != "failed":
        typer.echo(plugin_table(what, cache.expanduser(), shutil.get_terminal_size((100, 1)).columns))
        return
    runs = None if configfile is None else _plan(_yaml(configfile))["runs"]
    typer.echo(failed_jobs(results, runs))


@app.command()
def fetch(
    dataset: str,
    file: Annotated[str | None, typer.Option(help="Name of one of its files; default: the first.")] = None,
    cache: Cache = CACHE,
) -> None:
    """Download a dataset ahead of a run, as where jobs have no network."""
    from scident.listing import fetched

    typer.echo(fetched(dataset, cache.expanduser(), file))


@app.command()
def explain(metric: str) -> None:
    """Say what a metric means."""
    from scident.listing import explanation

    typer.echo(explanation(metric))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The .h5ad file.")],
    perturbation: Annotated[str | None, typer.Option(help="obs key of the perturbation labels.")] = None,
    control: Annotated[str | None, typer.Option(help="Label of control cells.")] = None,
    context: Annotated[str | None, typer.Option(help="obs key of cell line, type or donor.")] = None,
    batch: Annotated[str | None, typer.Option(help="obs key of the batch.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Published dataset the file is a copy or a part of.")] = None,
) -> None:
    """Say in plain words what is wrong or odd about an h5ad file, and what can be run on it."""
    from scident.stages import check as stage

    given = {"perturbation": perturbation, "control": control, "context": context, "batch": batch}
    keys = {name: value for name, value in given.items() if value is not None}
    found = stage.run(file, keys) if dataset is None else stage.run_published(file, dataset, keys)
    typer.echo(found.text())
    raise typer.Exit(1 if found.errors else 0)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="model, metric, dataset, simulator or split.")],
    name: str,
    folder: Path | None = None,
) -> None:
    """Write the template of a plug-in and say which config line runs it."""
    from scident.scaffold import write_template

    typer.echo(write_template(kind, name, folder))


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration."""
    from scident import config as configuration

    typer.echo(json.dumps(configuration.schema(), indent=2))


if __name__ == "__main__":
    main()
