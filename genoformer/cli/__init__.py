"""The command line: parse, call, report, exit code."""
