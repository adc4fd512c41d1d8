# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Explain why uv could not install a requirement: which one, its own first error, the likely cause and remedy. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.pyweb.stack.plugins.module_utils.building import network
from ansible_collections.pyweb.stack.plugins.module_utils.building.build_needs import (
    MISSING_PROGRAM,
    package_of_header,
    package_of_library,
    package_of_program,
    usual_packages,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# The requirement whose build failed, as uv names it.
FAILED = re.compile(r"Failed to (?:download and )?build `([^`]+)`", re.IGNORECASE)
# Errors of compilers, of Python and of programs, the most specific first.
ERRORS = (
    re.compile(r"^\S+: (?:fatal )?error: .+"),
    re.compile(r"^Caused by: Cargo metadata failed.+"),
    re.compile(r"^[\w.]*(?:Error|Exception|Exit|NotFound|Interrupt): .+"),
    re.compile(r"^(?:fatal|ERROR|Error|error): (?!Failed to|The build backend|Command ').+"),
)
# The words of a package that is older than the Python that it is built for.
OLD_FOR_PYTHON = re.compile(
    r"longintrepr\.h|No module named '(?:distutils|imp|asyncore|asynchat|smtpd|cgi|pipes)\b|ImpImporter"
    r"|use_2to3|'build_ext' object has no attribute 'cython_sources'|newer than PyO3's maximum"
    r"|has no attribute '(?:readfp|SafeConfigParser|getargspec|Mapping|MutableMapping|Callable)'"
    r"|error: .*(?:_?Py[A-Z]\w+|struct _ts|_frame|exc_t\w+|tp_print|ob_digit|ob_shash)\b"
    r"|Cannot install on Python version|[Rr]equires a different [Pp]ython"
)
# How setuptools-scm and hatch-vcs say that they know no version.
VERSIONLESS = re.compile(
    r"unable to (?:detect|determine) version|setuptools-scm was unable|could not determine the version"
    r"|Versioning for this project requires|Cannot find the version from SCM",
    re.IGNORECASE,
)
# How uv names a requirement that no index has.
UNKNOWN = re.compile(r"[Bb]ecause (\S+) was not found in the package registry|there (?:is|are) no versions? of (\S+)")

# Tools that take the version of a project from git, and the variable that names it instead. Others read a file that
# the controller adds to the source.
VERSION_VARIABLES = (
    ("uv-dynamic-versioning", "UV_DYNAMIC_VERSIONING_BYPASS"),
    ("poetry[-_]dynamic[-_]versioning", "POETRY_DYNAMIC_VERSIONING_BYPASS"),
    ("pdm[./]backend", "PDM_BUILD_SCM_VERSION"),
    (r"[/\b]pbr\b|Versioning for this project requires", "PBR_VERSION"),
)
# Remedies for failures that are not those of one build: a pattern that matches uv's output, and what to try.
REMEDIES = (
    *network.REMEDIES,
    (
        r"hash mismatch",
        "The index has another file for this version of a package than the one whose hash was recorded, so it may have "
        "been replaced: compare the package on your index or mirror with the original.",
    ),
    (
        r"pkg-resources was not found in the package registry|no version of pkg-resources",
        "It is no package. pip freeze of Debian and Ubuntu lists it by mistake: remove the line "
        "'pkg-resources==0.0.0'.",
    ),
    (
        r"was not found in the package registry|there are no versions of|there is no version of",
        "The index has no such name or version of a requirement: check its spelling and its version.",
    ),
    (
        r"(?s)\A(?=.*certificate)(?=.*(unknownissuer|invalid peer|verify))",
        "The index's certificate is not trusted: add your company's authority to the host's certificate store, "
        "or name it as python.ca_bundle.",
    ),
    (
        r"couldn't find remote ref|remote branch .* not found|unknown revision|reference is not a tree",
        "The repository of a requirement has no such branch, tag or commit: correct what follows '@' in its address.",
    ),
    (
        r"(?s)\A(?=.*git operation failed)(?=.*(permission denied|authentication failed|could not read username"
        r"|terminal prompts disabled|host key verification failed|cannot run ssh))",
        "The repository of a requirement wants credentials, which the host does not have: put a token into its "
        "address, as in git+https://${TOKEN}@…, with env: {TOKEN: …}.",
    ),
    (
        r"(?s)\A(?=.*git operation failed)",
        "The host can't fetch the repository of a requirement: check its address, and the network of the host.",
    ),
    (
        r"dns error|failed to lookup|connection refused|tcp connect error|operation timed out|error sending request",
        "The package index can't be reached from the host: check its network, or name a mirror as python.index_url.",
    ),
    (
        r"(?s)requires-python|does not satisfy python|\A(?=.*requires)(?=.*python>=)",
        "A requirement needs another Python: change its version, or set another python.interpreter.",
    ),
    (
        r"requirements are unsatisfiable",
        "The requirements contradict each other, as uv says below: change the versions that they ask for.",
    ),
    (
        r"distribution not found at: \S*(feedstock_root|/croot/|conda)",
        "pip freeze in an environment of conda lists the folders in which conda has built packages. Make the list with "
        "pip list --format=freeze.",
    ),
    (
        r"expected `--hash`, found",
        "uv takes no options behind a requirement, such as --config-settings or --global-option. Remove them. "
        "Settings for a build belong in [tool.uv.config-settings-package] of pyproject.toml.",
    ),
    (
        r"unexpected '\[', expected '-c'",
        "A requirements file includes a TOML file, which neither pip nor uv reads there. Name that file in "
        "python.requirements.",
    ),
    (
        r"distribution not found at",
        "A requirement is a folder or a file that the source does not have: correct its path. Relative paths start at "
        "the application root, or at the folder of a list above it. An absolute path is one of the author's machine.",
    ),
    (
        r"required (?:uv )?version .*does not match",
        "[tool.uv] of the source requires another version of uv: set python_uv_version to one that it accepts.",
    ),
    (
        r"404 not found",
        "A file is no longer in the index. If an earlier release recorded its version, resolve the versions again with "
        "-e webapp_upgrade_packages=true, or name another version in the requirements.",
    ),
    (r"no space left", "The disk is full; make room."),
)


def explained(output: str, left_out: Iterable[str] = ()) -> str:
    """The failed requirement, the cause and the remedy, with a space at the end; empty where nothing is known.

    ``left_out`` lists the files and folders of the source that .gitignore leaves out.
    """
    failed = FAILED.search(output)
    is_build = failed or "build backend returned an error" in output.lower()
    general = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, output.lower())), "")
    unknown = UNKNOWN.search(output)
    if unknown and not is_build:
        return f"'{unknown.group(1) or unknown.group(2)}' can't be installed. {general} "
    if not is_build or (general and "build backend" not in output.lower()):
        return f"{named(failed, general)} " if general else ""
    subject = f"'{failed.group(1)}'" if failed else "A project"
    error = first_error(output)
    told = f": {error.rstrip('.?')}." if error else "."
    return f"{subject} could not be built{told} {cause_of(output, failed, left_out)} "


def named(failed: re.Match[str] | None, remedy: str) -> str:
    return f"'{failed.group(1)}' could not be fetched. {remedy}" if failed else remedy


def first_error(output: str) -> str:
    """The line in which a compiler, Python or another program says first what is wrong; empty if there is none."""
    lines = [line.strip() for line in lines_of(output)]
    for pattern in ERRORS:
        for line in lines:
            if pattern.match(line) and not line.startswith("cause:"):
                return line[:300]
    return ""


def cause_of(output: str, failed: re.Match[str] | None, left_out: Iterable[str] = ()) -> str:
    """The likely cause of a failed build, and the remedy."""
    name = re.split(r"[=@ ]", failed.group(1))[0] if failed else ""
    version = re.search(r"\bpython(3\.\d+)\b", output)
    python = f"Python {version.group(1)}" if version else "this Python"
    if OLD_FOR_PYTHON.search(output):
        return (
            f"It is probably too old for {python}. Choose a newer version{f' of {name}' if name else ''}, or an older "
            "python.interpreter."
        )
    if "No module named 'pkg_resources'" in output:
        return (
            "Its build imports pkg_resources, which setuptools 82 and newer no longer have. "
            + (
                f"Choose a newer version of {name}. Or limit what builds use, by build-constraint-dependencies = "
                if name
                else ""
            )
            + ("['setuptools<81'] in [tool.uv] of pyproject.toml." if name else "")
            + ("" if name else "Write requires = ['setuptools<81'] into [build-system] of its pyproject.toml.")
        )
    if VERSIONLESS.search(output):
        variable = next((one for tool, one in VERSION_VARIABLES if re.search(tool, output)), "")
        if variable:
            return f"Its version comes from git, and hosts get no repository. Name the version in env: {variable}."
        return (
            "Its version comes from git, and the source has no tag that names it. Add a tag such as v1.0 to the "
            "repository, or set SETUPTOOLS_SCM_PRETEND_VERSION in env."
        )
    needs = build_needs(output, name)
    if needs:
        return f"The host lacks what its build needs. Set python_packages: [{', '.join(needs)}]."
    missing = re.search(r"No such file or directory: '([^']+)'", output)
    if missing:
        hidden = next((one for one in left_out if f"{one.rstrip('/')}/" in f"{missing.group(1)}/"), "")
        reason = f" .gitignore leaves out '{hidden}': add it to source.include." if hidden else ""
        return f"Its build reads '{missing.group(1)}', which is not there.{reason}"
    usual = ", ".join(usual_packages(name))
    return (
        "It has no wheel for this Python. Let python_packages install what its build needs "
        f"([{usual}]), or choose a version with a wheel."
    )


def build_needs(output: str, name: str) -> list[str]:
    """The Debian packages that a build lacked, by its output."""
    found: list[str] = []
    for program in MISSING_PROGRAM.findall(output):
        found += package_of_program(next(filter(None, program)))
    for header in re.findall(r"fatal error: (\S+\.h\w*): No such file", output):
        found += package_of_header(header, name)
    for library in re.findall(r"cannot find -l(\S+?):? ", f"{output} "):
        found += package_of_library(library)
    if re.search(r"pg_config executable not found|valid pkg-config name|(mysql_config|pkg-config).*not found", output):
        found = [*usual_packages(name), *found]
    return list(dict.fromkeys(found))


# Characters of a line that a message shows: a command of a compiler has a thousand.
LONGEST = 300
# Lines of builds that say nothing about their failure.
NOISE = re.compile(
    r"\s*(copying |creating |adding |writing |reading |running |warning: no |byte-compiling |\*{10}|!!\s*$|\[std)"
)


def shortened(output: str, count: int = 18) -> str:
    """The lines in which uv says what failed, and the last lines without noise."""
    lines = [line[:LONGEST] for line in lines_of(output.strip()) if line.strip() and not line.startswith("hint: ")]
    head = [line for line in lines if FAILED.search(line)][:1]
    last = [line for line in lines if not NOISE.match(line)][-count:]
    return "\n".join([*(line for line in head if line not in last), *last])
