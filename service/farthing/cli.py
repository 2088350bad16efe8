"""The command line: what each subcommand takes, with defaults and units. The work is done elsewhere.

Exit codes: 0 ok, 1 a check failed, 2 configuration, 3 start-up, 4 data. What ``--json`` prints is one object on the
last line of standard output; everything else goes to standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import App, Parameter

from farthing import __version__
from farthing.breakeven.options import BreakevenOptions
from farthing.commands import dead
from farthing.commands.broker import Kind
from farthing.commands.context import found_settings, hints_with_file, run_async, trusted_keys
from farthing.commands.flags import as_setting, within
from farthing.commands.model_app import model
from farthing.commands.parameters import AsJson, Bundle, ConfigFile, FieldMap, FoundConfigFile, PublicKeys
from farthing.demo import DemoOptions, run_demo
from farthing.errors import ConfigError
from farthing.evaluate.options import EvaluateFlags, EvaluateOptions
from farthing.limits import MAX_EVENT_BYTES
from farthing.process.output import write_text
from farthing.sections import RouteSettings, WorkerSettings

app = App(
    name="farthing",
    help="Score Kafka event streams with small, distilled, int8 models.",
    version=__version__,
    help_format="plaintext",
)
topics = App(name="topics", help="Create or check the topics that the routes need.")
configuration = App(name="config", help="Show the settings, init a settings file to start from, or print the schema.")
for sub in (model, topics, configuration, dead.app):
    app.command(sub)

Shell = Literal["bash", "zsh", "fish", "powershell"]


@app.command
def demo(options: Annotated[DemoOptions | None, Parameter(name="*")] = None) -> int:
    """Start a local broker, a generator, a worker and the ledger, and watch events being scored and what it saves."""
    return run_async(run_demo(options or DemoOptions()))


@app.command
def broker(
    *,
    port: Annotated[int, Parameter(help="port to listen on, at 127.0.0.1")] = 9092,
    kind: Annotated[
        Kind, Parameter(help="tansu: the demo's, in memory; apache-kafka: needs a checkout, Java 17 and Maven")
    ] = "tansu",
) -> int:
    """Run a broker on this machine until Ctrl-C, for trying your own producer; nothing is kept."""
    from farthing.commands.broker import run

    return run(kind, port=port)


@app.command
def serve(
    *,
    config_file: FoundConfigFile = None,
    workers: Annotated[
        int | None,
        Parameter(
            help="worker processes; default: worker.workers",
            validator=as_setting(WorkerSettings, "workers", called="worker.workers"),
        ),
    ] = None,
    worker_index: Annotated[int | None, Parameter(show=False, validator=within(0))] = None,
    address_file: Annotated[Path | None, Parameter(show=False)] = None,
) -> int:
    """Run scoring workers until SIGTERM or Ctrl-C, then drain, commit and exit within 25 s."""
    from farthing.process.logs import configure

    configure()
    with found_settings(config_file, {"worker.workers": workers}, logged=True) as loaded:
        if worker_index is None and loaded.settings.worker.workers > 1:
            from farthing.serving.supervisor import Supervisor

            arguments = ["serve", *(["-c", str(loaded.file.absolute())] if loaded.file is not None else [])]
            return run_async(Supervisor(loaded.settings, arguments).run())
        from farthing.serving.worker import Worker

        return run_async(Worker(loaded.settings, index=worker_index, address_file=address_file).run())


@app.command
def score(
    bundle: Bundle,
    file: Annotated[
        str,
        Parameter(allow_leading_hyphen=True, help="JSON lines, compressed (gzip, zstd) or not; - is standard input"),
    ] = "-",
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="default: standard output")] = None,
    dead: Annotated[Path | None, Parameter(help="file for events that cannot be scored, with their reasons")] = None,
    map_: FieldMap = (),
    max_event_bytes: Annotated[
        int,
        Parameter(
            help="bytes; longer events become dead letters",
            validator=as_setting(RouteSettings, "max_event_bytes", called="route.max_event_bytes"),
        ),
    ] = MAX_EVENT_BYTES,
    public_key: PublicKeys = (),
    as_json: AsJson = False,
) -> int:
    """Score events without Kafka: JSON lines in, score records out in the same order."""
    from farthing.commands.score import run

    if as_json and output is None:
        raise ConfigError("--json prints to standard output, where the scores go: add --output FILE for the scores")
    return run(
        bundle, file, output=output, dead=dead, max_event_bytes=max_event_bytes, as_json=as_json, names=map_,
        trusted_keys=trusted_keys(public_key),
    )  # fmt: skip


@app.command
def evaluate(
    bundle: Bundle,
    *data: Annotated[Path, Parameter(help="labelled rows: JSON lines, CSV or TSV, compressed (gzip, zstd) or not")],
    flags: Annotated[EvaluateFlags | None, Parameter(name="*")] = None,
    public_key: PublicKeys = (),
) -> int:
    """Measure a bundle on labelled rows, with bootstrap intervals.

    moderation, classify: macro_f1, auc, ap, ece. rerank: map, mrr, ndcg@10.
    bidding: auc, log_loss, ece, clicks_won, spend.
    """
    from farthing.evaluate.run import run

    keys = trusted_keys(public_key)
    return run(EvaluateOptions(bundle=bundle, data=data, trusted_keys=keys, **vars(flags or EvaluateFlags())))


@app.command
def breakeven(
    options: Annotated[BreakevenOptions | None, Parameter(name="*")] = None,
    *,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> int:
    """Estimate when a tuned model pays for itself and when the API is cheaper: a summary, then the details."""
    from farthing.breakeven.report import run

    with hints_with_file(config_file):
        return run(options or BreakevenOptions(), config_file=config_file, as_json=as_json)


@app.command
def distill(
    recipe: Annotated[Path, Parameter(help="recipe (TOML); models/recipes has some")],
    *,
    data: Annotated[
        Path | None, Parameter(help="folder with the recipe's data files; default: the recipe's folder")
    ] = None,
    out: Annotated[
        Path | None, Parameter(help="folder for the bundle; default: the recipe's name, in the current folder")
    ] = None,
    work: Annotated[
        Path | None, Parameter(help="folder for checkpoints and teachers' scores; default: OUT.work")
    ] = None,
    threads: Annotated[
        int,
        Parameter(
            help="threads of local teachers; the bundle's bytes depend on this number", validator=within(1, 1_024)
        ),
    ] = 1,
    sweep: Annotated[
        bool, Parameter(negative="", help="try the sizes in [sweep], and write a table and a plot to OUT")
    ] = False,
    report: Annotated[Path | None, Parameter(help="also write a comparison with the teachers (Markdown)")] = None,
) -> int:
    """Train a small int8 model on teachers' labels and write a bundle (extra distill). Resumes where it stopped."""
    from farthing.distill.command import run

    return run(recipe, data=data, out=out, work=work, threads=threads, try_sizes=sweep, report=report)


@app.command
def ledger(*, config_file: FoundConfigFile = None) -> int:
    """Keep the books of what was scored, and show what it cost and saved, as a page, JSON and metrics."""
    from farthing.ledger.platform import require_faust
    from farthing.process import logs

    logs.configure()
    with found_settings(config_file, logged=True) as loaded:
        require_faust()
        from farthing.ledger.run import run

        return run(loaded.settings)


@app.command
def doctor(*, config_file: FoundConfigFile = None, as_json: AsJson = False) -> int:
    """Check everything that scoring needs, from broker to folders, and change nothing; exit 3 when something fails."""
    from farthing.doctor.run import run

    with found_settings(config_file) as loaded:
        return run_async(run(loaded.settings, as_json=as_json, given=config_file))


@app.command
def audit(
    *,
    config_file: FoundConfigFile = None,
    ledger: Annotated[
        str | None, Parameter(help="the ledger's address; default: http://ledger.host:ledger.port")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Recount the score and dead-letter topics against the ledger's books; exit 1 when they disagree."""
    from farthing.audit.report import run

    with found_settings(config_file) as loaded:
        return run_async(run(loaded.settings, ledger=ledger, as_json=as_json))


@app.command
def completion(shell: Annotated[Shell | None, Parameter(help="default: the shell this is called from")] = None) -> int:
    """Print a script that completes commands and flags in a shell.

    bash: farthing completion bash > ~/.local/share/bash-completion/completions/farthing
    """
    from cyclopts.completion.detect import ShellDetectionError

    try:
        script = app.generate_completion(shell=shell)
    except ShellDetectionError as error:
        raise ConfigError(f"cannot tell which shell this is: name one of {', '.join(get_args(Shell))}") from error
    write_text(script.rstrip("\n") + "\n")
    return 0


@topics.command(name="create")
def topics_create(
    *,
    config_file: FoundConfigFile = None,
    partitions: Annotated[int | None, Parameter(validator=within(1, (1 << 31) - 1))] = None,
    replication_factor: Annotated[int, Parameter(validator=within(1, (1 << 15) - 1))] = 1,
) -> int:
    """Create missing score and dead-letter topics with as many partitions as their source.

    Parameters
    ----------
    partitions:
        also create missing source topics, with this many partitions
    replication_factor:
        replicas of each partition
    """
    from farthing.commands.topics import create

    with found_settings(config_file) as loaded:
        return run_async(create(loaded.settings, partitions=partitions, replication_factor=replication_factor))


@topics.command(name="check")
def topics_check(*, config_file: FoundConfigFile = None, as_json: AsJson = False) -> int:
    """Check that all topics exist and that sinks have enough partitions; exit 1 if not."""
    from farthing.commands.topics import check

    with found_settings(config_file) as loaded:
        return run_async(check(loaded.settings, as_json=as_json, given=config_file))


@configuration.command(name="show")
def config_show(*, config_file: FoundConfigFile = None, as_json: AsJson = False) -> int:
    """Print every setting, its value and where it came from."""
    from farthing.commands.config import show

    with found_settings(config_file) as loaded:
        return show(loaded, as_json=as_json)


@configuration.command(name="init")
def config_init(path: Path = Path("farthing.toml")) -> int:
    """Write a settings file to start from; an existing file is left alone."""
    from farthing.commands.config import init

    return init(path)


@configuration.command(name="schema")
def config_schema() -> int:
    """Print the JSON Schema of the settings file."""
    from farthing.commands.config import schema

    return schema()
