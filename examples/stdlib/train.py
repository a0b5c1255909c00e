#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Teach a tiny language model to guess the next letter of a text, with Python alone.

Each of the last few letters has a table of scores: one row per letter, one
column per letter that may come next. The rows that apply are added up, softmax
makes probabilities of the sum, and stochastic gradient descent moves the scores
towards what the text below really does.

    logs/train.log                        what is printed, with the time of each line
    outputs/checkpoints/epoch-NN.json     the tables after each epoch
    outputs/model.json                    the tables at the end
    outputs/sample.txt                    a text made up by the model
    outputs/metrics.json                  the figures of every epoch

The same seed gives the same model. SIGTERM ends the training after the epoch at
hand, with all of the above in place.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

OUTPUTS = Path("outputs")
CHECKPOINTS = OUTPUTS / "checkpoints"
LOGS = Path("logs")

TEXT = """
the ship left the harbour before the sun was up and nobody on the shore saw her go. the wind came from
the north and the water was as flat as a plate. by noon the land was a thin line and by evening there was
no land at all. the cook sang while he cut the bread and the others listened or slept. on the third day
they met another ship that had lost her mast in the storm of the week before. they gave her rope and wood
and water and the two crews worked together until it was dark. nobody asked for money and nobody was
thanked. in the morning the other ship was gone and so was the wind. they waited. there is nothing to be
done about the wind but to wait for it and so they mended the sails and told each other the stories that
they had told each other the year before. when the wind came back it came from the south, and they were
home in four days.
"""


def parse_arguments():
    parser = argparse.ArgumentParser(description="Teach a tiny language model to guess the next letter of a text.")
    parser.add_argument("--epochs", type=int, default=20, help="checkpoints to make (%(default)s)")
    parser.add_argument("--passes", type=int, default=5, help="times an epoch goes through the text (%(default)s)")
    parser.add_argument("--context", type=int, default=5, help="letters that the guess is made from (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=0.3, help="step size at first (%(default)s)")
    parser.add_argument("--sample-length", type=int, default=400, help="letters made up at the end (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is random (%(default)s)")
    arguments = parser.parse_args()
    if arguments.epochs < 1 or arguments.passes < 1 or arguments.context < 1:
        parser.error("--epochs, --passes and --context must be 1 or more")
    if arguments.learning_rate <= 0:
        parser.error("--learning-rate must be more than 0")
    return arguments


def softmax(scores):
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def chances_after(tables, context):
    """The probability of each letter after these ones."""
    rows = [table[letter] for table, letter in zip(tables, context)]
    return rows, softmax([sum(scores) for scores in zip(*rows)])


def learn_once(tables, examples, rate):
    """Go through all examples once. Returns the loss in bits per letter and the share guessed right."""
    loss = right = 0
    for context, following in examples:
        rows, chances = chances_after(tables, context)
        loss -= math.log2(chances[following])
        right += chances[following] == max(chances)
        steps = [rate * chance for chance in chances]
        steps[following] -= rate
        for row in rows:
            row[:] = [score - step for score, step in zip(row, steps)]
    return loss / len(examples), right / len(examples)


def make_up(tables, alphabet, context, length, dice):
    text = list(context)
    while len(text) < length:
        _, chances = chances_after(tables, text[-len(context) :])
        text += dice.choices(range(len(alphabet)), chances)
    return "".join(alphabet[letter] for letter in text)


def save(path, text):
    """Write a file whole or not at all: whoever looks never sees half a checkpoint."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text)
    os.replace(unfinished, path)


def as_json(alphabet, tables):
    rounded = [[[round(score, 4) for score in row] for row in table] for table in tables]
    return json.dumps({"alphabet": alphabet, "tables": rounded}) + "\n"


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

    text = " ".join(TEXT.split())
    alphabet = "".join(sorted(set(text)))
    letters = [alphabet.index(letter) for letter in text]
    size = arguments.context
    examples = [(letters[at - size : at], letters[at]) for at in range(size, len(letters))]
    tables = [[[0.0] * len(alphabet) for _ in alphabet] for _ in range(size)]
    dice = random.Random(arguments.seed)
    say(f"{len(examples)} examples, each of {size} letters and the next; {len(alphabet)} kinds of letters")

    history = []
    for epoch in range(1, arguments.epochs + 1):
        began = time.monotonic()
        for _ in range(arguments.passes):
            dice.shuffle(examples)
            loss, accuracy = learn_once(tables, examples, arguments.learning_rate / epoch ** 0.5)
        history.append({"epoch": epoch, "loss_bits": round(loss, 6), "accuracy": round(accuracy, 6)})
        save(CHECKPOINTS / f"epoch-{epoch:02d}.json", as_json(alphabet, tables))
        seconds = time.monotonic() - began
        say(f"epoch {epoch:2d}/{arguments.epochs}  loss {loss:.4f} bits  accuracy {accuracy:.4f}  ({seconds:.2f} s)")
        if stop:
            break

    metrics = {"arguments": vars(arguments), "interrupted": bool(stop), "epochs": history}
    save(OUTPUTS / "model.json", as_json(alphabet, tables))
    save(OUTPUTS / "sample.txt", make_up(tables, alphabet, letters[:size], arguments.sample_length, dice) + "\n")
    save(OUTPUTS / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    if stop:
        say(f"stopped by SIGTERM after epoch {epoch}; the model so far is in {OUTPUTS}/")
        return 128 + signal.SIGTERM
    say(f"done: the model and a sample of its prose are in {OUTPUTS}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
