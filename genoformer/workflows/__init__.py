"""File in, file out: what the command line calls and a notebook may call."""
