# SPDX-License-Identifier: MIT
"""A pool of workers that ignore SIGTERM, as data loaders leave them behind."""
import multiprocessing
import os
import signal
import time

WORKERS = 4
SECONDS = 60


def work(started):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    started.release()
    time.sleep(SECONDS)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    context = multiprocessing.get_context("fork")
    begun = context.Semaphore(0)
    for _ in range(WORKERS):
        context.Process(target=work, args=(begun,)).start()
    for _ in range(WORKERS):
        begun.acquire()
    print("ready", flush=True)
    time.sleep(SECONDS)
