#!/bin/sh
# Makes .venv hold exactly what the hash-locked files in requirements/ say:
#
#     scripts/environment.sh site    what `make site` needs
#     scripts/environment.sh test    that, and what `make test` needs (sslyze in .venv/sslyze, for its libraries are older;
#                                chromium from Debian)
#     scripts/environment.sh sanity  in addition what `make sanity` needs (galaxy-importer in .venv/importer, likewise)
#     scripts/environment.sh docs    in addition what `make docs` needs (the site generator and mermaid, in .venv/docs)
#
# Needs python3 and nothing else: Debian's python3-venv is installed through apt when it is missing.
set -eu
cd "$(dirname "$0")/.."
kind=$1
python=.venv/bin/python

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "This needs root: $*" "Run it as root once, or install sudo and allow $(id -un) to use it."
    fi
}

# Packages that are missing on this machine, from its own package manager.
install_packages() {
    command -v apt-get >/dev/null \
        || die "This machine has no apt-get: install what these Debian packages hold, then run again: $*"
    say "Installing $* with apt"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -qq update
    as_root apt-get -qq -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends "$@" >/dev/null
}

require_python() {
    missing=
    # Debian leaves ensurepip out of python3; a fresh machine may also lack the certificates TLS is checked with.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing=python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -e /etc/debian_version ] || missing="$missing ca-certificates"
    # shellcheck disable=SC2086  # a list of names
    [ -z "$missing" ] || install_packages $missing
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
        || die "python3 here is $(python3 -V 2>&1), but ansible-core 2.19 needs Python 3.11 or newer on the controller."
}

# The virtual environment, with pip and uv at their locked versions.
bootstrap() {
    if "$python" -c '' 2>/dev/null && [ -x .venv/bin/uv ]; then return; fi
    python3 -m venv --clear .venv
    "$python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all: \
        --requirement requirements/bootstrap.txt
}

# Programs that the unit tests run, on ports of their own. Installed, nginx's package would start a server on this machine;
# the program alone is enough.
provide_program() {
    package=$1 path=$2
    program=${path##*/}
    if command -v "$program" >/dev/null || [ -x "/$path" ] || [ -x ".venv/bin/$program" ]; then return; fi
    command -v apt-get >/dev/null || { say "Without $program its unit tests are skipped."; return; }
    say "Fetching $program for the unit tests"
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    (
        cd "$scratch"
        apt-get -qq download "$package" || { as_root apt-get -qq update && apt-get -qq download "$package"; }
    ) 2>/dev/null
    dpkg -x "$scratch/$package"_*.deb "$scratch/unpacked"
    cp "$scratch/unpacked/$path" ".venv/bin/$program"
    rm -rf "$scratch"
}

# A module of nginx, if it fits the nginx of this environment.
provide_module() {
    package=$1 path=$2
    [ -x .venv/bin/nginx ] && [ ! -e ".venv/lib/nginx/${path##*/}" ] || return 0
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    (cd "$scratch" && apt-get -qq download "$package") 2>/dev/null
    dpkg -x "$scratch/$package"_*.deb "$scratch/unpacked"
    mkdir -p .venv/lib/nginx
    cp "$scratch/unpacked/$path" .venv/lib/nginx/
    rm -rf "$scratch"
}

# HAProxy for the tests of balancers, with the libraries that it needs. Installed, its package would start a server.
provide_haproxy() {
    if [ -x /usr/sbin/haproxy ] || [ -x .venv/bin/haproxy ]; then return; fi
    command -v apt-get >/dev/null || { say "Without haproxy its unit tests are skipped."; return; }
    say "Fetching haproxy for the unit tests"
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    # Debian's base system has the others.
    libraries=$(apt-cache depends haproxy libopentracing-c-wrapper0 2>/dev/null \
        | grep -o -e 'liblua[^ >]*' -e 'libopentracing[^ >]*' | sort -u)
    # shellcheck disable=SC2086  # a list of names
    (cd "$scratch" && apt-get -qq download haproxy $libraries) 2>/dev/null
    for package in "$scratch"/*.deb; do dpkg -x "$package" "$scratch/unpacked"; done
    mkdir -p .venv/lib/haproxy
    cp "$scratch/unpacked/usr/sbin/haproxy" .venv/lib/haproxy/
    find "$scratch/unpacked" -name 'lib*.so.*' -exec cp -P {} .venv/lib/haproxy/ \;
    rm -rf "$scratch"
    folder=$(pwd)/.venv/lib/haproxy
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/haproxy "$@"\n' "$folder" "$folder" >.venv/bin/haproxy
    chmod 755 .venv/bin/haproxy
}

# The browser of the tests of the status page, and a font for its pages. It needs many libraries, but starts no service.
provide_chromium() {
    if command -v chromium >/dev/null; then return; fi
    # In a subshell: without it, all other tests still run, and those of the page fail with what to install.
    (install_packages chromium fonts-liberation) || say "Without chromium, the tests of the status page fail."
}

# A program in an environment of its own: sslyze and galaxy-importer need older libraries than the rest.
provide_apart() {
    .venv/bin/uv venv --quiet --clear --python "$python" ".venv/$1"
    .venv/bin/uv pip sync --quiet --python ".venv/$1/bin/python" --require-hashes "requirements/$1.txt"
}

# The program that draws diagrams in a browser. It is a package of npm; the site needs one file of it.
provide_mermaid() {
    read -r version checksum <<EOF
$(grep -v '^#' requirements/mermaid.lock)
EOF
    command -v npm >/dev/null || install_packages npm
    say "Fetching mermaid $version"
    scratch=$(mktemp -d)
    (cd "$scratch" && npm pack --silent "mermaid@$version" >/dev/null && tar -xzf ./*.tgz package/dist/mermaid.min.js)
    "$python" -c 'import hashlib, sys; sys.exit(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest() != sys.argv[2])' \
        "$scratch/package/dist/mermaid.min.js" "$checksum" \
        || die "mermaid $version is another file than requirements/mermaid.lock names."
    mv "$scratch/package/dist/mermaid.min.js" .venv/docs/
    rm -rf "$scratch"
}

# uv uses neither pip's settings nor, by default, the machine's certificate store. So a mirror or a certificate that is
# set for pip is passed to uv; settings of uv itself take precedence. Mixing indexes is safe here: every file is checked
# by hash.
follow_the_machine() {
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}" UV_NO_PROGRESS=1
    certificates=$(pip_setting cert)
    [ -z "$certificates" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$certificates}"
    if [ -n "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}${UV_CONFIG_FILE:-}" ]; then return; fi
    index=$(pip_setting index-url)
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    extra=$(pip_setting extra-index-url)
    [ -z "$extra" ] || export UV_INDEX="$extra" UV_INDEX_STRATEGY="${UV_INDEX_STRATEGY:-unsafe-best-match}"
}

# A setting of pip's, from its environment variables and files alike, in pip's order of precedence. uv reads only
# what is fetched over the network as an index, so folders are left out.
pip_setting() {
    "$python" - "$1" <<'PYTHON'
import subprocess, sys

listed = subprocess.run(
    [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"], capture_output=True, text=True
).stdout
found = dict(line.split("=", 1) for line in listed.splitlines() if "=" in line)
for scope in (":env:", "install", "global"):
    if (value := found.get(f"{scope}.{sys.argv[1]}")) is not None:
        words = value.strip("'\"").replace("\\n", " ").split()
        print(*(word for word in words if not word.startswith("file:")))
        break
PYTHON
}

case $kind in
    site) set -- requirements/bootstrap.txt requirements/site.txt ;;
    test) set -- requirements/bootstrap.txt requirements/test.txt ;;
    sanity)
        follow_the_machine
        provide_apart importer
        exit
        ;;
    docs)
        follow_the_machine
        provide_apart docs
        provide_mermaid
        exit
        ;;
    *) die "usage: $0 site|test|sanity|docs" ;;
esac
say "Making .venv ($kind)"
require_python
bootstrap
rm -f .venv/.made-*
follow_the_machine
# Compiled now, because Ansible starts a process for every task. Without the compiled files, which a process may not or
# does not write, each of them would compile the same modules again, for half a second.
# An earlier lock had a second package with the module of ngxparse, whose removal takes the module along.
.venv/bin/uv pip sync --quiet --compile-bytecode --python "$python" --reinstall-package ngxparse --require-hashes "$@"
[ "$kind" = site ] || {
    provide_program nginx usr/sbin/nginx
    for module in static filter; do
        provide_module "libnginx-mod-http-brotli-$module" "usr/lib/nginx/modules/ngx_http_brotli_${module}_module.so"
    done
    provide_haproxy
    provide_program slowhttptest usr/bin/slowhttptest
    provide_chromium
    provide_apart sslyze
}
