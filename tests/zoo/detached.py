# SPDX-License-Identifier: MIT
"""A worker in a session of its own without environment, started by a Python program that goes on."""
import signal
import subprocess
import sys
import time

SECONDS = 60

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) > 1:
    print("ready", flush=True)
else:
    subprocess.Popen([sys.executable, "-I", __file__, "worker"], env={}, start_new_session=True)
time.sleep(SECONDS)
