"""`genoformer expression`: tracks predicted from sequence, examples to learn them from, training, assessment."""

from __future__ import annotations

import typer

from genoformer.cli.expression_assess import ASSESS_HELP, assess
from genoformer.cli.expression_attribute import ATTRIBUTE_HELP, attribute
from genoformer.cli.expression_examples import EXAMPLES_HELP, examples
from genoformer.cli.expression_predict import JOIN_HELP, PREDICT_HELP, join, predict
from genoformer.cli.expression_simulate import SIMULATE_HELP, simulate
from genoformer.cli.expression_train import TRAIN_HELP, train

app = typer.Typer(help="Tracks of gene regulation from genome sequence.", no_args_is_help=True)

app.command(help=PREDICT_HELP)(predict)
app.command(help=JOIN_HELP)(join)
app.command(help=ATTRIBUTE_HELP)(attribute)
app.command(help=EXAMPLES_HELP)(examples)
app.command(help=SIMULATE_HELP)(simulate)
app.command(help=TRAIN_HELP)(train)
app.command(help=ASSESS_HELP)(assess)
