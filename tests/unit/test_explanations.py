# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The explanations of installations that fail. The texts are those of uv 0.13, shortened."""

from __future__ import annotations

import textwrap

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.explanations import explained, shortened


def failed(requirement: str, error: str, python: str = "3.13") -> str:
    """The output of uv for a build that fails."""
    copied = [f"copying a/{number}.py -> build/lib.linux-x86_64-cpython-313/a" for number in range(40)]
    lines = ["[stdout]", "running bdist_wheel", *copied, "", "[stderr]", *textwrap.dedent(error).strip().split("\n")]
    found = "\n".join(f"         {line}" for line in lines)
    return (
        f"error: Failed to build `{requirement}`\n  cause: The build backend returned an error\n"
        "  cause: Call to `setuptools.build_meta.build_wheel` failed (exit status: 1)\n\n"
        f'{found}\n         File "/x/lib/python{python}/site-packages/setuptools/build_meta.py", line 1\n\n'
        "hint: Build failures usually indicate a problem with the package or the build environment\n"
    )


@pytest.mark.parametrize(
    ("requirement", "error", "words"),
    [
        (
            "greenlet==0.4.17",
            "greenlet.c:176:21: error: '_PyErr_StackItem' has no member named 'exc_type'\nerror: Command 'gcc'",
            "'greenlet==0.4.17' could not be built: greenlet.c:176:21: error: '_PyErr_StackItem' has no member named "
            "'exc_type'. It is probably too old for Python 3.13. Choose a newer version of greenlet, or an older "
            "python.interpreter.",
        ),
        (
            "gevent==1.4.0",
            "src/gevent/libev/corecext.c:255:12: fatal error: longintrepr.h: No such file or directory",
            "It is probably too old for Python 3.13. Choose a newer version of gevent",
        ),
        (
            "numpy==1.19.0",
            "Traceback (most recent call last):\nModuleNotFoundError: No module named 'distutils.msvccompiler'",
            "No module named 'distutils.msvccompiler'. It is probably too old for Python 3.13",
        ),
        (
            "pyyaml==5.4",
            "AttributeError: 'build_ext' object has no attribute 'cython_sources'",
            "Choose a newer version of pyyaml",
        ),
        (
            "greenlet==3.1.1",
            "error: [Errno 2] No such file or directory: 'g++'",
            "The host lacks what its build needs. Set python_packages: [build-essential, python3-dev].",
        ),
        (
            "ujson==5.0",
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
            "Set python_packages: [build-essential, python3-dev].",
        ),
        ("bcrypt==4", "error: can't find Rust compiler", "Set python_packages: [cargo]."),
        (
            "shop==1",
            "maturin failed\n  Caused by: Cargo metadata failed. Do you have cargo in your PATH?",
            "could not be built: Caused by: Cargo metadata failed. Do you have cargo in your PATH. The host lacks what "
            "its build needs. Set python_packages: [cargo].",
        ),
        (
            "python-ldap==3.4.4",
            "Modules/common.h:15:10: fatal error: lber.h: No such file or directory\n"
            "error: Command '['gcc', '-I/usr/include/python3.13']' returned non-zero exit status 1.",
            "Set python_packages: [libldap2-dev, libsasl2-dev].",
        ),
        (
            "thing==1",
            "thing.c:1:10: fatal error: Python.h: No such file or directory",
            "Set python_packages: [python3-dev].",
        ),
        ("thing==1", "/usr/bin/ld: cannot find -lssl: No such file or directory", "[libssl-dev]"),
        (
            "mysqlclient==2.2.4",
            "Exception: Can not find valid pkg-config name.",
            "[build-essential, python3-dev, default-libmysqlclient-dev, pkg-config]",
        ),
        (
            "psycopg2==2.9.9",
            "Error: pg_config executable not found.\n\npg_config is required to build psycopg2 from source.",
            "'psycopg2==2.9.9' could not be built: Error: pg_config executable not found. The host lacks what its "
            "build needs. Set python_packages: [build-essential, python3-dev, libpq-dev].",
        ),
        (
            "shop==1",
            "RuntimeError: Error getting the version from source `uv-dynamic-versioning`: Unable to detect version",
            "env: UV_DYNAMIC_VERSIONING_BYPASS",
        ),
        ("shop==1", "Exception: Versioning for this project requires either an sdist tarball, or git", "PBR_VERSION"),
        (
            "shop==1",
            "  File pdm/backend/hooks.py\nValueError: Cannot find the version from SCM",
            "PDM_BUILD_SCM_VERSION",
        ),
        ("shop==1", "LookupError: setuptools-scm was unable to detect version", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        ("old==1", "ModuleNotFoundError: No module named 'pkg_resources'", "Choose a newer version of old."),
        (
            "any==1",
            "RuntimeError: no",
            "'any==1' could not be built: RuntimeError: no. It has no wheel for this Python.",
        ),
    ],
)
def test_a_failed_build_tells_what_failed_its_first_error_and_the_remedy(
    requirement: str, error: str, words: str
) -> None:
    output = failed(requirement, error)
    assert words in explained(output)
    assert f"Failed to build `{requirement}`" in shortened(output)
    assert error.split("\n")[0] in shortened(output)
    assert "copying" not in shortened(output)
    assert len(shortened(output).split("\n")) <= 24


def test_a_build_that_reads_a_file_that_gitignore_leaves_out() -> None:
    output = (
        "error: The build backend returned an error\n"
        "  cause: Call to `setuptools.build_meta:__legacy__.get_requires_for_build_wheel` failed (exit status: 1)\n\n"
        "         FileNotFoundError: [Errno 2] No such file or directory: 'VERSION'\n"
    )
    told = explained(output, ["VERSION"])
    assert told.startswith("A project could not be built: FileNotFoundError: [Errno 2]")
    assert "Its build reads 'VERSION', which is not there. .gitignore leaves out 'VERSION'" in told
    assert "gitignore" not in explained(output)


GIT = "error: Failed to download and build `x @ git+https://git.example.com/x.git`\n  cause: Git operation failed\n"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (f"{GIT}         fatal: unable to access 'https://x/': Failed to connect", "can't fetch the repository"),
        (
            f"{GIT}         fatal: could not read Username for 'https://x': terminal prompts disabled",
            "wants credentials",
        ),
        (f"{GIT}         fatal: couldn't find remote ref v9", "no such branch, tag or commit"),
        (
            "error: Distribution not found at: file:///srv/x/libs/none",
            "a folder or a file that the source does not have",
        ),
        (
            "error: Distribution not found at: file:///home/conda/feedstock_root/build_artifacts/numpy_16/work",
            "pip list --format=freeze",
        ),
        (
            "  cause: Because pkg-resources was not found in the package registry and you require "
            "pkg-resources==0.0.0, we can conclude that your requirements are unsatisfiable.",
            "remove the line 'pkg-resources==0.0.0'",
        ),
        ('error: Expected `--hash`, found `"--config-settings"`: requirements.txt:1:13', "no options behind"),
        (
            "  cause: Unexpected '[', expected '-c', '-e', '-r' or the start of a requirement: pyproject.toml:1:1",
            "python.requirements",
        ),
        (
            "error: No solution found when resolving dependencies\n  cause: Because there is no version of flask==99.1 "
            "and you require flask==99.1, we can conclude that your requirements are unsatisfiable.",
            "'flask==99.1' can't be installed. The index has no such name or version",
        ),
        (
            "  cause: Because flask==2.0.0 depends on werkzeug>=2.0 and you require flask==2.0.0, we can conclude that "
            "you require werkzeug>=2.0.\n And because you require werkzeug==1.0.1, we can conclude that your "
            "requirements are unsatisfiable.",
            "The requirements contradict each other",
        ),
    ],
)
def test_what_can_not_be_fetched_is_named(output: str, words: str) -> None:
    assert words in explained(output)
    if output.startswith(GIT):
        assert explained(output).startswith("'x @ git+https://git.example.com/x.git' could not be fetched.")
