import functools
import os
import signal
import subprocess
import sys
from typing import IO

import pytest
import typer
from typer.testing import CliRunner

import genoformer
from genoformer.cli.main import ErrorReportingGroup, app
from genoformer.errors import AlignmentError, ConfigError, GenoformerError

HEAVY = ["Bio", "h5py", "numpy", "pyBigWig", "pyfaidx", "pysam", "safetensors", "torch"]

RAISED = {
    "data": AlignmentError("a.bam: no subreads for ZMW 17; align them first"),
    "usage": ConfigError("a.toml: unknown key 'dept'; did you mean 'depth'?"),
    "base": GenoformerError("plain"),
    "lines": AlignmentError("first\nsecond\r\nthird"),
    "system": FileNotFoundError(2, "No such file or directory", "reads.bam"),
    "nameless": OSError("write failed"),
    "worker": BrokenPipeError(32, "Broken pipe"),
    "interrupt": KeyboardInterrupt(),
}


@pytest.fixture
def failing_app():
    """The top group with one command, `fail`, that raises what its argument names."""
    app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)

    @app.callback()
    def root() -> None:
        pass

    @app.command()
    def fail(kind: str) -> None:
        typer.echo("half a result")
        raise RAISED[kind]

    return app


@pytest.mark.parametrize(
    ("kind", "exit_code", "line"),
    [
        ("data", 1, "genoformer: error: a.bam: no subreads for ZMW 17; align them first\n"),
        ("usage", 2, "genoformer: error: a.toml: unknown key 'dept'; did you mean 'depth'?\n"),
        ("base", 1, "genoformer: error: plain\n"),
        ("lines", 1, "genoformer: error: first second third\n"),
        ("system", 1, "genoformer: error: reads.bam: No such file or directory\n"),
        ("nameless", 1, "genoformer: error: write failed\n"),
        ("worker", 1, "genoformer: error: [Errno 32] Broken pipe\n"),  # not stdout: must not pass silently
        ("interrupt", 130, "genoformer: interrupted\n"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_its_exit_code(failing_app, kind, exit_code, line):
    result = CliRunner().invoke(failing_app, ["fail", kind])
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, line, "half a result\n")


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_developer_can_ask_for_the_traceback(failing_app, value, shown):
    result = CliRunner().invoke(failing_app, ["fail", "data"], env={"GENOFORMER_TRACEBACK": value})
    assert result.exit_code == 1
    assert result.stderr.endswith("genoformer: error: a.bam: no subreads for ZMW 17; align them first\n")
    assert ("Traceback (most recent call last)" in result.stderr) is shown


def test_a_bug_keeps_its_exception(failing_app):
    result = CliRunner().invoke(failing_app, ["fail", "no such kind"])
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--no-such-option"], "No such option"),
        (["no-such"], "No such command"),
        (["model", "no-such"], "No such command"),
    ],
)
def test_wrong_usage_exits_2_and_leaves_stdout_empty(arguments, complaint):
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"genoformer {genoformer.__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_groups_and_documents_exit_codes_and_variable(flag):
    result = CliRunner().invoke(app, [flag], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    for word in [
        "consensus",
        "expression",
        "model",
        "--version",
        "--install-completion",
        "GENOFORMER_TRACEBACK=1",
        "130",
        "141",
    ]:
        assert word in result.stdout


def start_python(*arguments: str, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[str]:
    """A fresh interpreter with Python's defaults (a buffered stdout) that finds the packages where this one does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, *arguments]
    return subprocess.Popen(command, text=True, stdout=stdout, stderr=subprocess.PIPE, env=environment)


def heavy_modules_after(statements: str) -> str:
    report = f"import atexit, sys; atexit.register(lambda: print('loaded', [m for m in {HEAVY} if m in sys.modules]))\n"
    with start_python("-c", report + statements) as process:
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([group, "--help"] for group in ("consensus", "expression", "model"))]
)
def test_help_loads_nothing_heavy(arguments):
    call = f"from genoformer.cli.main import app; app({arguments}, prog_name='genoformer')"
    assert heavy_modules_after(call) == "loaded []"


def test_the_check_for_heavy_modules_sees_one():
    assert heavy_modules_after("import numpy") == "loaded ['numpy']"


COMMAND_OF_ITS_OWN = """
import sys, time, typer
from genoformer.cli.main import ErrorReportingGroup

app = typer.Typer(cls=ErrorReportingGroup, pretty_exceptions_enable=False)

@app.callback()
def root() -> None:
    pass

@app.command()
def count(lines: int) -> None:
    for number in range(lines):
        print(number)

@app.command()
def echo(length: int) -> None:
    typer.echo("x" * length)

@app.command()
def wait() -> None:
    print("ready", flush=True)
    time.sleep(60)

app()
"""


@pytest.fixture
def start_command(tmp_path):
    """Starts `count` or `wait` of a script as a process of its own."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND_OF_ITS_OWN)
    return functools.partial(start_python, str(script))


# A few lines stay in Python's buffer until the end; a million overflow it and the pipe on the way.
@pytest.mark.parametrize("lines", ["3", "1000000"])
def test_a_reader_that_goes_away_ends_the_command_silently(start_command, lines):
    with start_command("count", lines) as process:
        process.stdout.close()
        stderr = process.stderr.read()
    assert (process.returncode, stderr) == (141, "")


@pytest.mark.parametrize("arguments", [("count", "3"), ("count", "100000"), ("echo", "100000"), ("--help",)])
def test_a_full_disk_behind_standard_output_is_named(start_command, arguments):
    with open("/dev/full", "wb") as full, start_command(*arguments, stdout=full) as process:
        stderr = process.stderr.read()
    assert (process.returncode, stderr) == (1, "genoformer: error: standard output: No space left on device\n")


def test_output_is_whole_where_the_reader_stays(start_command):
    with start_command("count", "3") as process:
        assert process.stdout.read() == "0\n1\n2\n"
    assert process.returncode == 0


def test_an_interrupt_from_the_keyboard_is_one_line(start_command):
    with start_command("wait") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        stderr = process.stderr.read()
    assert (process.returncode, stderr) == (130, "genoformer: interrupted\n")
