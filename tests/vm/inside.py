# SPDX-License-Identifier: MIT
"""Inside the machine: does what comes in through the second serial port, a JSON line in for a JSON line out."""

import json
import os
import subprocess
import tty

PORT = "/dev/ttyS1"


def text(data):
    return (data or b"").decode(errors="replace")


def answer(asked):
    given = asked["input"]
    try:
        done = subprocess.run(
            asked["command"], capture_output=True, timeout=asked["timeout"], cwd="/",
            input=None if given is None else given.encode(), stdin=subprocess.DEVNULL if given is None else None,
        )
    except subprocess.TimeoutExpired as late:
        return {"late": True, "stdout": text(late.stdout), "stderr": text(late.stderr)}
    except OSError as error:
        return {"returncode": 127, "stdout": "", "stderr": str(error)}
    return {"returncode": done.returncode, "stdout": text(done.stdout), "stderr": text(done.stderr)}


def main():
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    with open(port, "rb", closefd=False) as lines, open(port, "wb", closefd=False) as to:
        said = {"ready": True}
        while True:
            to.write(json.dumps(said).encode() + b"\n")
            to.flush()
            said = answer(json.loads(lines.readline()))


if __name__ == "__main__":
    main()
