"""A request to stop only sets a flag, even before torch is imported."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from genoformer.training.signals import EXIT_INTERRUPTED, StopRequest

CHECKOUT = Path(__file__).resolve().parents[2]

EARLY = """
import os, signal, sys
from genoformer.training.signals import StopRequest
assert not {"torch", "numpy", "pydantic"} & set(sys.modules)
with StopRequest() as stop:
    stop.listen(signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    print(stop.received.name)
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_the_signal_is_noted_and_given_back():
    former = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.received is None
        stop.listen(signal.SIGUSR1, signal.SIGTERM)
        stop.listen(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is former


def test_it_can_listen_before_anything_heavy_is_imported():
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    result = subprocess.run([sys.executable, "-c", EARLY], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "SIGUSR1\n", result.stderr
    assert result.returncode == -signal.SIGUSR1  # given back: the second one kills


def test_outside_of_the_main_thread_it_says_that_it_cannot(caplog):
    stop = StopRequest()
    thread = threading.Thread(target=stop.listen, args=(signal.SIGUSR1,))
    thread.start()
    thread.join()
    assert "not in the main thread: SIGUSR1 will not stop the run" in caplog.text


def test_the_exit_code_is_that_of_try_again():
    assert EXIT_INTERRUPTED == os.EX_TEMPFAIL
