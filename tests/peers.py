"""Other implementations for the scripts of tests/: what they need is installed beside them, once for each list."""

import pathlib
import shutil
import subprocess
import sys


class Missing(Exception):
    """A tool that is not there, or cannot be installed."""


def quietly(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Missing(f"{command[0]} failed:\n{done.stdout}")
    return done.stdout


def need(program):
    found = shutil.which(program)
    if not found:
        raise Missing(f"there is no {program} on the PATH")
    return found


def fresh(stamp, listing):
    return stamp.exists() and stamp.read_bytes() == listing.read_bytes()


def node_modules(folder):
    """Node, with what the package-lock.json in this folder lists."""
    node = need("node")
    stamp, lock = folder / "node_modules/.installed", folder / "package-lock.json"
    if not fresh(stamp, lock):
        quietly(need("npm"), "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)
        shutil.copyfile(lock, stamp)
    return node


def venv(folder):
    """The Python of an environment with what the requirements.txt in this folder lists."""
    environment, wanted = folder / ".tools/venv", folder / "requirements.txt"
    stamp, python = environment / ".installed", str(environment / "bin/python")
    if not fresh(stamp, wanted):
        quietly(sys.executable, "-m", "venv", "--clear", str(environment))
        quietly(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted))
        shutil.copyfile(wanted, stamp)
    return python


def is_in(folder):
    """Whether this is the Python of that environment already."""
    return pathlib.Path(sys.prefix) == folder / ".tools/venv"
