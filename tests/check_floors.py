#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fail when a file includes a header from a folder, or a library, that its own folder may not use.

The two tables are the rule (ARCHITECTURE.md, "Floors"): changing a dependency means changing a line here, in view.

    check_floors.py SOURCE_ROOT
"""
import pathlib
import re
import sys

MAY_USE = {
    "common": "",
    "supervisor": "common",
    "cli": "common",
    "cli/chaos": "common cli",
    "cli/doctor": "common cli cli/chaos",
    "agent/store": "common",
    "agent/history": "common",
    "agent/http": "common",
    "agent/gpu": "common",
    "agent/capture": "common store",
    "agent/runs": "common store history gpu capture",
    "agent/api": "common store history gpu capture runs http",
    "agent/check": "common store history",
    "agent": "common store history gpu capture runs http api check",
}

# Header -> the only places that may see it (a folder, or a file).
LIBRARIES = {
    "uv.h": ["agent/http/", "agent/runs/", "agent/api/", "agent/agent.h", "agent/agent.c", "agent/main.c",
             "agent/ending.h", "agent/reload.h", "agent/service.h"],
    "sqlite3.h": ["agent/history/"],
    "git2.h": ["agent/capture/git_read", "agent/capture/git_patch.c"],
    "cjson/cJSON.h": ["common/json.c"],
    "microhttpd.h": ["agent/http/"],
    "openssl/": ["common/digest.c", "cli/sha256.c"],
    "yaml.h": ["cli/yaml_tree.c"],
}


def folder_of(path):
    """The folder in MAY_USE that a file belongs to; None for one that no rule knows."""
    parts = path.parts
    name = "/".join(parts[:2]) if parts[0] in ("agent", "cli") and len(parts) > 2 else parts[0]
    return name if name in MAY_USE else None


def faults_of(path, text):
    """Every include of the file that looks up, sideways, or at somebody else's library."""
    folder = folder_of(path)
    own = folder.removeprefix("agent/")  # a root for includes
    allowed = {own, *MAY_USE[folder].split()}
    for number, line in enumerate(text.splitlines(), 1):
        ours = re.match(r'#include "((?:cli/)?\w+)/', line)
        if ours and ours[1] not in allowed:
            yield f"{path}:{number}: {folder}/ may not include {ours[1]}/"
        library = re.match(r"#include <([\w/.]+)>", line)
        for header, places in LIBRARIES.items():
            if library and library[1].startswith(header) and not any(str(path).startswith(p) for p in places):
                yield f"{path}:{number}: only {', '.join(places)} may include <{header}>"


def main():
    root = pathlib.Path(sys.argv[1])
    faults, seen = [], 0
    for file in sorted(root.rglob("*.[ch]")):
        path = file.relative_to(root)
        if path.parts[0] not in {"common", "supervisor", "cli", "agent"}:
            continue
        seen += 1
        if folder_of(path) is None:
            faults.append(f"{path}: its folder has no floor")
        else:
            faults.extend(faults_of(path, file.read_text()))
    print("\n".join(faults) if faults else f"{seen} files keep to their floors")
    return 1 if faults or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
