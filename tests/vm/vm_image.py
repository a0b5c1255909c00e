# SPDX-License-Identifier: MIT
"""What a virtual machine is started from: a kernel of this distribution, and a small system as its initial ramdisk.

The system is this machine's own packages, as many as systemd and Python need, and the build as it is installed. So
nothing is fetched but the kernel, which comes from this machine's own apt sources and is installed nowhere.
"""

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

import systemd_machine

HERE = Path(__file__).resolve().parent
# The smallest kernels of Debian and Ubuntu.
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")
PACKAGES = ("base-files", "bash", "coreutils", "dash", "findutils", "grep", "login", "mawk", "passwd", "python3", "sed",
            "systemd", "util-linux")
# What these packages make when they are installed.
MADE = ("/bin", "/sbin", "/lib", "/lib64", "/bin/sh", "/usr/bin/awk", "/etc/alternatives/awk", "/etc/ld.so.cache",
        "/etc/passwd", "/etc/group")
NOT_READ = re.compile(r"/usr/share/(doc|info|locale|man)/|/usr/lib/udev/|/usr/lib/modules/")
PORT_UNIT = """
[Unit]
Description=What the tests ask of this machine
[Service]
ExecStart=/usr/bin/python3 -B /inside.py
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
OOMScoreAdjust=-1000
[Install]
WantedBy=multi-user.target
"""


def run(*command, **options):
    """What it printed."""
    done = subprocess.run([os.fspath(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


# -- the kernel ---------------------------------------------------------------------------------------------------


def fetch_kernel(folder, options):
    """The package, from what this machine's apt knows."""
    for name in KERNELS:
        found = re.search(r"^ *Depends: (linux-image-\S+)$", run("apt-cache", *options, "depends", name), re.M)
        if found:
            run("apt-get", "-q", *options, "download", found[1], cwd=folder)
            return next(folder.glob("linux-image-*.deb"))
    raise AssertionError(f"apt knows no package {' or '.join(KERNELS)}")


def kernel(folder):
    """The kernel, as a file in the folder."""
    try:
        package = fetch_kernel(folder, [])
    except AssertionError:  # what it knows is old, or nothing: it learns anew, for us alone
        options = []
        for kept in ("State::Lists", "Cache"):
            (folder / kept).mkdir()
            options += ["-o", f"Dir::{kept}={folder / kept}"]
        run("apt-get", "-q", *options, "update")
        package = fetch_kernel(folder, options)
    run("dpkg-deb", "--extract", package, folder / "kernel")
    package.unlink()
    return next((folder / "kernel/boot").glob("vmlinuz-*"))


# -- the system ---------------------------------------------------------------------------------------------------


def with_what_they_need(names):
    """The packages, and all that they depend on."""
    wanted = "${Package}\t${Pre-Depends}, ${Depends}\t${Provides}\t${db:Status-Status}\n"
    needs, providers = {}, {}
    for line in run("dpkg-query", "--show", f"--showformat={wanted}").splitlines():
        name, needed, provided, status = line.split("\t")
        if status == "installed":
            needs[name] = [[word.split()[0].split(":")[0] for word in either.split("|") if word.strip()]
                           for either in needed.split(",")]
            providers.update({word.split()[0]: name for word in provided.split(",") if word.strip()})
    found, ahead = set(), list(names)
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        found.add(name)
        for either in needs[name]:
            ahead += [other if other in needs else providers[other]
                      for other in either if other in needs or other in providers][:1]
    return found


def libraries(package):
    """What the programs of the build are linked with."""
    found = set()
    for program in package.rglob("*"):
        if program.is_file() and os.access(program, os.X_OK):
            said = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30).stdout
            found.update(re.findall(r"(?:=> |^\s)(/\S+) \(", said, re.M))
    return found


def of_this_machine(package):
    """The files of this machine, with the folders that they are in, each before what is in it."""
    listed = run("dpkg-query", "--listfiles", *with_what_they_need(PACKAGES)).splitlines()
    linked = libraries(package)
    found = set()
    for name in {*listed, *MADE, *linked, *map(os.path.realpath, linked)}:
        # /lib/x is /usr/lib/x: a package may say either.
        path = Path(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
        if os.path.lexists(path) and not NOT_READ.match(str(path)):
            if path.is_symlink() or os.access(path, os.R_OK):
                found.update([path, *path.parents])
    return [str(path)[1:] for path in sorted(found) if path != Path("/")]


def lay_out(folder, config):
    """What this machine has not: the build, installed and enabled as an admin would, and the port."""
    units = folder / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "port.service").write_text(PORT_UNIT)
    shutil.copy(HERE / "inside.py", folder)
    conf = folder / "etc/amlagent/amlagentd.conf"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(config)
    (folder / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (folder / "etc/fstab").touch()
    for name in ("dev", "proc", "sys", "run", "tmp", "var/lib"):
        (folder / name).mkdir(parents=True)
    run("systemctl", f"--root={folder}", "enable", "port.service", "amlagentd.service", "amlagentd.socket")


def archive(root, names, to):
    """cpio's; the kernel reads one after the other."""
    subprocess.run(["cpio", "--create", "--null", "--quiet", "--format=newc", "--owner=0:0"], cwd=root, stdout=to,
                   input="\0".join(names).encode(), timeout=120, check=True)


def ramdisk(folder, config):
    """The system, as a file in the folder; its first program is /lib/systemd/systemd."""
    package = systemd_machine.installed(folder / "package")
    theirs = of_this_machine(package)
    lay_out(package, config)
    ours = [str(path.relative_to(package)) for path in sorted(package.rglob("*"))]
    image = folder / "ramdisk"
    with open(image, "wb") as to:
        archive("/", theirs, to)
        archive(package, ours, to)
    return image
