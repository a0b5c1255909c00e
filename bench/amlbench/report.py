# SPDX-License-Identifier: MIT
"""The figures as Markdown and as JSON."""

import os
import platform
import re
import subprocess
import time

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def quantity(value, unit):
    if unit == "s":
        if abs(value) < 0.1:
            return f"{value * 1e3:.1f} ms"
        return f"{value * 1e3:.0f} ms" if abs(value) < 1 else f"{value:.2f} s"
    if unit == "/s":
        return f"{value:,.0f} /s" if value >= 10 or value == 0 else f"{value:.1f} /s"
    if unit == "B":
        return f"{value / 1e6:.2f} MB"
    return f"{value:.3g} {unit}"


def ratio_text(spread):
    digits = 2 if spread.median < 10 else 1
    low, high = f"{spread.low:.{digits}f}", f"{spread.high:.{digits}f}"
    alone = low == high == f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f}" + ("" if alone else f" ({low} to {high})")


def markdown(figures, facts):
    lines = [
        "| figure | ours, median | peer, median | ratio ours/peer: median (spread) | aim | |",
        "|---|---|---|---|---|---|",
    ]
    remarks = []
    for figure in figures:
        for line in figure.lines:
            lines.append(_table_line(figure, line))
        remarks += [f"{figure.key}: {note}" for note in figure.notes]
        remarks += [f"{figure.key}: {_orientation(figure)}"] if _orientation(figure) else []
    lines += [
        "",
        "The spread is min..max below 10 rounds, the quartiles from there on; where a few milliseconds over the bare",
        "interpreter are compared, it is the quartiles of what other samples of the same rounds would have given.",
        "",
        *(f"- {remark}" for remark in remarks),
        f"- measured: {facts['when']}; {facts['machine']}; {facts['file_system']}; load {facts['load']}",
        f"- versions: {facts['versions']}",
    ]
    return "\n".join(lines) + "\n"


def _table_line(figure, line):
    ours, ratio = figure.spread(line.ours), figure.ratio(line)
    cells = [line.title, _cell(figure, line.ours), _cell(figure, line.peer), ratio_text(ratio) if ratio else "–"]
    if line.aim:
        met = line.aim.met(ours, ratio)
        cells += [line.aim.text, "–" if met is None else "met" if met else "**missed**"]
    else:
        cells += ["", ""]
    return "| " + " | ".join(cells) + " |"


def _cell(figure, name):
    if name is None:
        return "–"
    label = name.rsplit(", ", 1)[0] if name.endswith(", over") else name
    spread = figure.spread(name)
    if spread:
        return f"`{label}`: {quantity(spread.median, figure.units.get(name, figure.unit))}"
    return f"`{label}`: {figure.absent.get(name, 'not measured')}"


def _orientation(figure):
    """The medians of all that was measured, with the number of rounds: for orientation."""
    parts = []
    for name, values in figure.series.items():
        spread, unit = figure.spread(name), figure.units.get(name, figure.unit)
        low, high = quantity(spread.low, unit), quantity(spread.high, unit)
        parts.append(f"{name} {quantity(spread.median, unit)} ({low} to {high}, {len(values)}×)")
    return "; ".join(parts)


def as_json(figures, facts):
    return {"facts": facts, "figures": [figure.as_json() for figure in figures]}


def gather_facts(bench):
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": f"Linux {platform.release()}, {os.cpu_count()} × {_cpu()}, {_memory()} GB",
        "file_system": f"{_file_system(bench.folder)}",
        "load": f"{os.getloadavg()[0]:.1f} at the end",
        "versions": "; ".join(_versions(bench)),
        "quick": bench.options.quick,
    }


def _cpu():
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*: (.*)", file.read(), re.M)
    return found.group(1).strip() if found else platform.machine()


def _memory():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _file_system(folder):
    """The type of the file system that a folder lies on."""
    best = ("", "?")
    with open("/proc/self/mounts") as file:
        for line in file:
            _, point, kind = line.split()[:3]
            point = point.replace("\\040", " ")
            if (folder + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, kind)
    return best[1]


def _versions(bench):
    commands = {
        "amlctl": [os.path.join(bench.options.build_dir, "amlctl"), "version"],
        "commit": ["git", "-C", bench.repo, "describe", "--always", "--dirty"],
        "tsp": ["tsp", "-V"],
        "restic": ["restic", "version"],
        "git": ["git", "--version"],
        "openssl": ["openssl", "version"],
        "slurm": ["srun", "--version"],
        "python": ["/usr/bin/python3", "--version"],
    }
    for name, argv in commands.items():
        try:
            done = subprocess.run(
                argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, text=True,
                env=bench.commands.environment,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.strip():
            words = done.stdout.splitlines()[0].split("(")[0].split(" compiled")[0].split(" - ")[0].strip()
            yield f"commit {words}" if name == "commit" else words


def write_readme(path, text):
    with open(path, encoding="utf-8") as file:
        old = file.read()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: the marks {BEGIN} and {END} are not there")
    unfinished = path + ".unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{text}{END}{after}")
    os.replace(unfinished, path)
