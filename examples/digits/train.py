#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Teach a small neural network to read handwritten digits.

The data are the 1,797 digits of 8 x 8 pixels that come with scikit-learn, so
nothing is downloaded. Everything worth keeping goes to two folders below the
working directory:

    logs/train.log                        what is printed, with the time of each line
    outputs/checkpoints/epoch-NN.joblib   the network after each epoch
    outputs/model.joblib                  the network at the end
    outputs/confusion_matrix.csv          rows: the true digit; columns: the digit read
    outputs/metrics.json                  the figures of every epoch

The same seed gives the same network, on the same machine with the same number
of threads. SIGTERM, which a time limit and a cancel begin with, ends the training
after the epoch at hand, with all of the above in place.
"""

import argparse
import csv
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

try:
    import joblib
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import confusion_matrix
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError as error:
    sys.exit(
        f"train.py: {error}, for {sys.executable}. On Debian: apt-get install python3-sklearn, "
        "then run with --python /usr/bin/python3"
    )

OUTPUTS = Path("outputs")
CHECKPOINTS = OUTPUTS / "checkpoints"
LOGS = Path("logs")


def parse_arguments():
    parser = argparse.ArgumentParser(description="Teach a small neural network to read handwritten digits.")
    parser.add_argument("--epochs", type=int, default=12, help="times the training data are gone through (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=0.001, help="step size of Adam (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="digits per step (%(default)s)")
    parser.add_argument("--hidden", type=int, nargs="+", default=[384, 192], help="hidden layers (384 192)")
    parser.add_argument("--test-share", type=float, default=0.25, help="share kept back for testing (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random (%(default)s)")
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.batch_size < 1 or min(arguments.hidden) < 1:
        parser.error("--epochs, --batch-size and --hidden must be 1 or more")
    if arguments.learning_rate <= 0:
        parser.error("--learning-rate must be more than 0")
    if not 0 < arguments.test_share < 1:
        parser.error("--test-share must lie between 0 and 1")
    return arguments


def load_data(test_share, seed):
    """The digits, pixels from 0 to 1, in a part to learn from and a part to be tested on."""
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data / 16.0, digits.target, test_size=test_share, random_state=seed, stratify=digits.target
    )
    return *shifted(train_x, train_y), test_x, test_y


def shifted(x, y):
    """Each digit nine times: as it is, and moved by a pixel in each of the eight directions."""
    padded = np.pad(x.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moves = [padded[:, row : row + 8, column : column + 8] for row in range(3) for column in range(3)]
    return np.concatenate(moves).reshape(-1, 64), np.tile(y, len(moves))


def save(path, write):
    """Write a file whole or not at all: whoever looks never sees half a checkpoint."""
    unfinished = path.with_name(path.name + ".unfinished")
    write(unfinished)
    os.replace(unfinished, path)


def save_results(network, history, test_x, test_y, arguments, interrupted):
    matrix = confusion_matrix(test_y, network.predict(test_x), labels=range(10))

    def write_matrix(path):
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["true\\read", *range(10)])
            rows.writerows([digit, *counts] for digit, counts in enumerate(matrix))

    metrics = {"arguments": vars(arguments), "interrupted": interrupted, "epochs": history}
    save(OUTPUTS / "model.joblib", lambda path: joblib.dump(network, path))
    save(OUTPUTS / "confusion_matrix.csv", write_matrix)
    save(OUTPUTS / "metrics.json", lambda path: path.write_text(json.dumps(metrics, indent=2) + "\n"))


def main():
    arguments = parse_arguments()
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    LOGS.mkdir(exist_ok=True)
    log = open(LOGS / "train.log", "w", buffering=1)

    def say(line):
        print(line, flush=True)
        log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")

    stop = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))

    train_x, train_y, test_x, test_y = load_data(arguments.test_share, arguments.seed)
    say(f"{len(train_y)} digits to learn from, {len(test_y)} to be tested on, seed {arguments.seed}")

    network = MLPClassifier(
        hidden_layer_sizes=tuple(arguments.hidden),
        learning_rate_init=arguments.learning_rate,
        batch_size=min(arguments.batch_size, len(train_y)),
        random_state=arguments.seed,
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    history = []
    for epoch in range(1, arguments.epochs + 1):
        began = time.monotonic()
        network.partial_fit(train_x, train_y, classes=range(10))
        history.append(
            {
                "epoch": epoch,
                "loss": round(float(network.loss_), 6),
                "train_accuracy": round(float(network.score(train_x, train_y)), 6),
                "test_accuracy": round(float(network.score(test_x, test_y)), 6),
            }
        )
        save(CHECKPOINTS / f"epoch-{epoch:02d}.joblib", lambda path: joblib.dump(network, path))
        say(
            "epoch {epoch:2d}/{epochs}  loss {loss:.4f}  accuracy: train {train_accuracy:.4f}, "
            "test {test_accuracy:.4f}  ({seconds:.2f} s)".format(
                epochs=arguments.epochs, seconds=time.monotonic() - began, **history[-1]
            )
        )
        if stop:
            break

    save_results(network, history, test_x, test_y, arguments, interrupted=bool(stop))
    if stop:
        say(f"stopped by SIGTERM after epoch {epoch}; the model so far is in {OUTPUTS}/")
        return 128 + signal.SIGTERM
    say(f"done: {history[-1]['test_accuracy']:.2%} of the test digits read right; the model is in {OUTPUTS}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
