# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Names and statements of tutorials, old versions and command lines, and what to write here instead. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import nearest

AUTO = "workers: auto is twice the number of cores plus one; write it outside of the server's settings."
# uWSGI and granian get fewer workers, because they have more threads.
AUTO_THREADED = "workers: auto fits the number of cores; write it outside of the server's settings."
MONKEY = (
    "The worker class gevent patches the standard library by itself: write worker_class: gevent, and leave this out."
)
ENV = "Set variables as env, outside of the server's settings."
SITE_STATIC = "nginx serves static files: use site.static."
PROCESS_LOG = "The process manager has the log (logs.yml shows it)."

# Options of gunicorn's command line, old names, and names of other servers, by the setting that they mean.
GUNICORN_NAMES = {
    "c": "config",
    "b": "bind",
    "w": "workers",
    "k": "worker_class",
    "t": "timeout",
    "d": "daemon",
    "e": "raw_env",
    "env": "raw_env",
    "p": "pidfile",
    "pid": "pidfile",
    "u": "user",
    "g": "group",
    "m": "umask",
    "n": "proc_name",
    "name": "proc_name",
    "r": "enable_stdio_inheritance",
    "keep_alive": "keepalive",
    "reload_extra_file": "reload_extra_files",
    "preload": "preload_app",
    "no_sendfile": "sendfile",
    "access_log": "accesslog",
    "access_logfile": "accesslog",
    "access_log_file": "accesslog",
    "access_logformat": "access_log_format",
    "error_log": "errorlog",
    "error_logfile": "errorlog",
    "error_log_file": "errorlog",
    "log": "errorlog",
    "logfile": "errorlog",
    "log_file": "errorlog",
    "log_level": "loglevel",
    "verbosity": "loglevel",
    "log_config": "logconfig",
    "log_config_json": "logconfig_json",
    "log_syslog": "syslog",
    "log_syslog_to": "syslog_addr",
    "log_syslog_prefix": "syslog_prefix",
    "log_syslog_facility": "syslog_facility",
    "paster": "paste",
    "paste_global": "raw_paste_global_conf",
    "proxy_allow_from": "proxy_allow_ips",
    "uwsgi_allow_from": "uwsgi_allow_ips",
    "dirty_app": "dirty_apps",
    "no_control_socket": "control_socket_disable",
    "processes": "workers",
    "worker_processes": "workers",
    "num_workers": "workers",
    "worker_type": "worker_class",
    "host": "bind",
    "port": "bind",
    "socket": "bind",
    "module": "wsgi_app",
    "application": "wsgi_app",
    "app": "wsgi_app",
    "working_directory": "chdir",
    "harakiri": "timeout",
    "graceful_shutdown_timeout": "graceful_timeout",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
    "before_fork": "pre_fork",
    "after_fork": "post_fork",
    "worker_reload_mercy": "graceful_timeout",
}
GUNICORN_SENTENCES = {
    "debug": "gunicorn 19 dropped it. Use loglevel: debug for more messages.",
    "django_settings": "gunicorn 19 dropped it. Set env: {DJANGO_SETTINGS_MODULE: shop.settings}, and wsgi to the "
    "callable of the project, such as 'shop.wsgi:application'.",
    "settings": "Set env: {DJANGO_SETTINGS_MODULE: shop.settings}, outside of the server's settings.",
    "secure_scheme_header": "It is now secure_scheme_headers, a mapping.",
    "x_forwarded_for_header": "gunicorn 19 dropped it. Use proxy_fix: true, outside of the server's settings.",
    "environment": ENV,
    "environ": ENV,
    "cpu_count": AUTO,
    "monkey": MONKEY,
    "gevent": MONKEY,
    "monkey_patch": MONKEY,
    "static": SITE_STATIC,
    "static_map": SITE_STATIC,
    "uvicorn": "Write worker_class: uvicorn_worker.UvicornWorker.",
}

# Names in ini files of tutorials, and names of gunicorn.
UWSGI_NAMES = {
    "p": "processes",
    "s": "socket",
    "w": "module",
    "h": "home",
    "t": "harakiri",
    "d": "daemonize",
    "m": "master",
    "c": "chmod-socket",
    "bind": "socket",
    "host": "http-socket",
    "port": "http-socket",
    "app": "module",
    "application": "module",
    "wsgi-app": "module",
    "wsgi-module": "module",
    "user": "uid",
    "group": "gid",
    "timeout": "harakiri",
    "num-workers": "workers",
    "worker-processes": "workers",
    "raw-env": "env",
    "environment": "env",
    "environ": "env",
    "env-vars": "env",
    "pidfile-path": "pidfile",
    "working-directory": "chdir",
    "cwd": "chdir",
    "graceful-timeout": "worker-reload-mercy",
    "keepalive": "http-keepalive",
    "backlog": "listen",
    "max-requests-jitter": "max-requests-delta",
    "log-file": "logto",
    "logfile": "logto",
    "log": "logto",
    "errorlog": "logto",
    "error-log": "logto",
    "limit-request-line": "buffer-size",
    "limit-request-field-size": "buffer-size",
    "python-home": "home",
}
UWSGI_SENTENCES = {
    "preload-app": "uWSGI loads the application before it forks with lazy-apps: false.",
    "preload": "uWSGI loads the application before it forks with lazy-apps: false.",
    "worker-class": "uWSGI has no worker classes. Use gevent: 100 for greenlets, or server: gunicorn.",
    "accesslog": "nginx has the access log. For a log of uWSGI, write disable-logging: false.",
    "access-log": "nginx has the access log. For a log of uWSGI, write disable-logging: false.",
    "access-logfile": "nginx has the access log. For a log of uWSGI, write disable-logging: false.",
    "loglevel": f"uWSGI has no levels. {PROCESS_LOG} Leave it out.",
    "log-level": f"uWSGI has no levels. {PROCESS_LOG} Leave it out.",
    "debug": f"uWSGI has no levels. {PROCESS_LOG} Leave it out.",
    "django-settings-module": "Set env: {DJANGO_SETTINGS_MODULE: shop.settings}, outside of the server's settings.",
    "static": SITE_STATIC,
    "statsd-host": 'Write stats-push: "statsd:ADDRESS:PORT".',
    "base": "Write values in full: placeholders of your own are options that uWSGI does not know.",
    "project": "Write values in full: placeholders of your own are options that uWSGI does not know.",
    "monkey-patch": "Write gevent: 100 and gevent-monkey-patch: true.",
    "monkey": "Write gevent: 100 and gevent-monkey-patch: true.",
    "asgi": "uWSGI supports only WSGI. Use server: gunicorn with gunicorn: {worker_class: asgi}.",
}

# Options of granian's command line, and names of other servers.
GRANIAN_NAMES = {
    "b": "host",
    "bind": "host",
    "socket": "uds",
    "uds_path": "uds",
    "w": "workers",
    "processes": "workers",
    "num_workers": "workers",
    "worker_processes": "workers",
    "threads": "blocking_threads",
    "keepalive": "http1_keep_alive",
    "keep_alive": "http1_keep_alive",
    "websockets": "ws",
    "no_ws": "ws",
    "loglevel": "log_level",
    "accesslog": "access_log",
    "log_access": "access_log",
    "log_access_format": "access_log_fmt",
    "logconfig": "log_config",
    "working_directory": "working_dir",
    "chdir": "working_dir",
    "pid": "pid_file",
    "pidfile": "pid_file",
    "proc_name": "process_name",
    "certfile": "ssl_certificate",
    "keyfile": "ssl_keyfile",
    "graceful_timeout": "workers_kill_timeout",
}
GRANIAN_SENTENCES = {
    "timeout": "Give it as timeout, outside of granian.",
    "worker_class": "granian has no worker classes. Use interface: asgi or interface: wsgi.",
    "max_requests": "granian does not count requests. Use workers_lifetime or workers_max_rss.",
    "max_requests_jitter": "granian does not count requests. Use workers_lifetime or workers_max_rss.",
    "raw_env": ENV,
    "env": ENV,
    "environment": ENV,
    "static": SITE_STATIC,
    "cpu_count": AUTO_THREADED,
}


@dataclass(frozen=True)
class Translator:
    """The words of one server. ``dash`` joins the words of its names; ``own`` are set by this collection."""

    server: str
    dash: str
    known: frozenset[str]
    own: Mapping[str, str]
    names: Mapping[str, str]
    sentences: Mapping[str, str]
    # Settings as a mapping.
    example: str
    # Why a known setting can't have the value of a text; empty if it can.
    refusal: Callable[[str, str], str] = lambda name, value: ""

    def remedy(self, key: str) -> str:
        """The words to use instead of a name that the server does not have; begins with a space."""
        likely = self.likely(key)
        if likely in self.known:
            return self.meant(likely)
        if likely in self.sentences:
            return f" {self.sentences[likely]}"
        if likely in self.names:
            return self.meant(self.names[likely])
        return nearest(likely, sorted(self.known)) or " Leave it out."

    def likely(self, key: str) -> str:
        """A name without the dashes of a command line, in the server's own spelling."""
        return re.sub(r"[-_]", self.dash, str(key).strip("-").lower())

    def meant(self, name: str) -> str:
        return f" Did you mean '{name}'?" + (f" There, {self.own[name]}" if name in self.own else "")

    def text_problem(self, text: str) -> str:
        """The problem of a settings file or command line as settings, translated line by line."""
        found = [line for name, value in statements(text) for line in (self.translation(name, value),) if line]
        form = f"{self.server}: {{{self.example}}}"
        begin = f"this is a text, but settings are a mapping, such as {form}. "
        return begin + ("Its lines mean:\n    " + "\n    ".join(found) if found else "Write it as one.")

    def translation(self, name: str, value: str) -> str:
        likely = self.likely(name)
        if likely in self.own and likely not in ("monkey", "cpu_count"):
            return f"{name}: {self.own[likely]}"
        if likely in self.known:
            return f"{name}: {self.refusal(likely, value) or f'write {likely}: ' + (value or 'true')}"
        return f"{name}:{self.remedy(name)}"


# A command line begins with an option, or with the name or path of the server.
COMMAND = re.compile(r"\s*(?:-|(?:\S*/)?(?:gunicorn|uwsgi|granian)(?=\s))")


def statements(text: str) -> Iterator[tuple[str, str]]:
    """The names and values of a Python settings file, an ini file, or a command line."""
    if COMMAND.match(text):
        yield from words_of(text.replace("\\\n", " "))
        return
    for line in re.split(r"[\n;]", text):
        line = line.strip()
        if not line or line.startswith(("#", "[", "import multiprocessing", "import os", "from multiprocessing")):
            continue
        if "monkey" in line:
            yield "monkey", ""
        elif match := re.fullmatch(r"([\w-]+)\s*[=:]\s*(.*)", line):
            yield match[1], match[2].split("  #")[0].strip()


def words_of(text: str) -> Iterator[tuple[str, str]]:
    """The options of a command line with their values."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    for place, word in enumerate(words):
        if word.startswith("-"):
            name, _equals, value = word.partition("=")
            after = words[place + 1] if place + 1 < len(words) else ""
            yield name, value or ("" if after.startswith("-") else after)
