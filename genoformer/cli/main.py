"""The command `genoformer`: its groups of commands, and the one way in which errors leave it.

    exit 0     done
    exit 1     bad data: one line on stderr
    exit 2     wrong usage: one line on stderr, or the usage text for options that do not parse
    exit 130   interrupted from the keyboard: one line on stderr
    exit 141   the reader of standard output went away: silent, as a shell reports it of other tools

Each command imports what it needs when it runs, so that `--help` loads neither torch nor pysam.
"""

from __future__ import annotations

import io
import os
import select
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genoformer import __version__
from genoformer.cli.check import CHECK_HELP, check
from genoformer.cli.consensus import app as consensus_app
from genoformer.cli.expression import app as expression_app
from genoformer.cli.model import app as model_app
from genoformer.cli.report import REPORT_HELP, report
from genoformer.cli.variants import app as variants_app
from genoformer.errors import GenoformerError

EXIT_BAD_DATA = 1
EXIT_INTERRUPTED = 128 + 2  # what a shell reports of a process that SIGINT ended
EXIT_BROKEN_PIPE = 128 + 13  # the same for SIGPIPE

_STDOUT = 1  # file descriptor
_STDOUT_NAME = "standard output"

_EPILOG = (
    "Results go to standard output or to the file that you name, all else to standard error. Exit codes: 1 bad data, "
    "2 wrong usage, 130 interrupted, 141 the reader of standard output went away. For a bug report, set "
    "GENOFORMER_TRACEBACK=1: it shows the traceback of an error."
)


class ErrorReportingGroup(TyperGroup):
    """The top group of commands; turns what a command raises into one line on stderr and an exit code.

    An exception outside `GenoformerError` and `OSError` is a bug and keeps its traceback.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs a command line, its own help and version included, with a standard output whose errors name it."""
        if sys.stdout is sys.__stdout__:
            sys.stdout = _named_stdout(sys.stdout)
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            sys.exit(_report_os_error(error))

    def invoke(self, ctx: Any) -> Any:
        """The result of the command that the arguments name.

        Raises:
            typer.Exit: with the exit code of the error, once it is reported.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that went away must show here, not while Python shuts down
        except KeyboardInterrupt as error:
            _report(error, "interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except GenoformerError as error:
            _report(error, f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            raise typer.Exit(_report_os_error(error)) from None
        return result


app = typer.Typer(
    name="genoformer",
    cls=ErrorReportingGroup,
    help="Transformers for genomic sequence: from reads to consensus and from DNA to tracks.",
    epilog=_EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(consensus_app, name="consensus")
app.add_typer(expression_app, name="expression")
app.add_typer(variants_app, name="variants")
app.add_typer(model_app, name="model")
app.command(help=CHECK_HELP)(check)
app.command(help=REPORT_HELP)(report)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genoformer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


class _NamedStdout(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _STDOUT_NAME
            raise


def _named_stdout(stdout: Any) -> io.TextIOWrapper:
    """Standard output once more, for what is longer than its buffer leaves no trace there when it fails."""
    buffer = io.BufferedWriter(_NamedStdout(_STDOUT, "wb", closefd=False))
    return io.TextIOWrapper(buffer, stdout.encoding, stdout.errors, line_buffering=stdout.line_buffering)


def _report(error: BaseException, message: str) -> None:
    """Print one line to stderr, after the traceback where a developer asked for it."""
    if os.environ.get("GENOFORMER_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exception(error)
    print("genoformer:", " ".join(message.splitlines()), file=sys.stderr)


def _report_os_error(error: OSError) -> int:
    """The exit code of a failed system call, once it is reported."""
    name, is_gone = error.filename, _reader_is_gone()
    if is_gone or _stdout_fails():
        # What stdout still buffers has nowhere to go; without this Python complains while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
        name = name or _STDOUT_NAME
    if is_gone:
        return EXIT_BROKEN_PIPE
    where = f"{name}: {error.strerror}" if name is not None else str(error)
    _report(error, f"error: {where}")
    return EXIT_BAD_DATA


def _stdout_fails() -> bool:
    """Whether what standard output buffers cannot be written; a failed write leaves it there."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more.

    A `BrokenPipeError` alone does not tell: it may come from a worker process that died, which must not pass silently.
    """
    poll = select.poll()
    poll.register(_STDOUT, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


if __name__ == "__main__":
    app()
