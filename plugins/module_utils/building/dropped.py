# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Modules that Python or setuptools no longer has, and the packages that still have them. Pure."""

from __future__ import annotations

# Removed from setuptools 82.
SETUPTOOLS = {"pkg_resources": "setuptools<81"}
# Removed from Python 3.12 or 3.13.
PYTHON = {
    "asynchat": "pyasynchat",
    "asyncore": "pyasyncore",
    "cgi": "legacy-cgi",
    "cgitb": "legacy-cgi",
    "crypt": "standard-crypt",
    "distutils": "setuptools",
    "imghdr": "standard-imghdr",
    "nntplib": "standard-nntplib",
    "pipes": "standard-pipes",
    "smtpd": "standard-smtpd",
    "sndhdr": "standard-sndhdr",
    "telnetlib": "standard-telnetlib",
    "xdrlib": "standard-xdrlib",
}


def remedy_of_dropped(module: str) -> str:
    """The remedy for a missing module that newer versions of its package have dropped; empty for any other."""
    name = module.partition(".")[0]
    if name in SETUPTOOLS:
        return (
            f"Newer versions of setuptools no longer contain '{name}': add '{SETUPTOOLS[name]}' to python.packages, or "
            "to the requirements."
        )
    if name in PYTHON:
        return (
            f"Newer versions of Python no longer contain '{name}': add '{PYTHON[name]}' to python.packages, or to the "
            "requirements, or update the package that imports it."
        )
    if name == "imp":
        return "Python 3.12 no longer contains 'imp': update the package that imports it, or use an older interpreter."
    return ""
