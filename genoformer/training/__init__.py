"""The training machinery that both tasks share: configs, optimizers, the loop and what it saves and logs."""
