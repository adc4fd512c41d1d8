# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Other words for keys, as other tools, their files and tutorials have them. Pure.

The tools are Docker Compose, Heroku and its Procfile, Kamal, supervisor, systemd, gunicorn, nginx and older roles.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

# The keys that may be meant, and words for them. A key counts where it exists: at the place, or one level deeper.
KEYS: dict[tuple[str, ...], str] = {
    ("env", "environment"): (
        "environment environ env_vars envs variables environment_variables vars config_vars raw_env"
    ),
    ("wsgi", "wsgi_app", "module"): (
        "callable application module app_module wsgi_module entrypoint entry_point wsgi_app asgi app target"
    ),
    ("domains",): "domain_name domainname hostname host hosts server_name server_names fqdn vhost virtual_host dns",
    ("git",): "repo repository git_url git_repo url",
    ("image", "source.image"): "docker_image container_image image_name",
    ("containerfile", "source.containerfile"): "dockerfile docker_file docker",
    ("path", "source.path"): "local_path directory folder dir",
    ("workers",): (
        "workers_count worker_count num_workers number_of_workers worker_processes concurrency web_concurrency replicas"
    ),
    ("tls", "site.tls"): "https ssl letsencrypt lets_encrypt acme certbot certificate certificates cert",
    ("shared",): (
        "volumes volume mounts persistent persistent_dirs persistence linked_dirs shared_dirs media uploads "
        "storage data"
    ),
    ("files",): "secret_files config_files configs",
    ("switch",): "strategy deploy_strategy deployment_strategy update_config",
    ("jobs",): "cron crons crontab cronjobs timers scheduled schedules periodic",
    ("processes",): "background workers_background daemons services accessories roles procfile celery",
    ("interpreter", "source.version", "python.interpreter"): "version",
    ("interpreter", "python.interpreter"): ("python python_version python_interpreter runtime executable python_path"),
    ("requirements", "python.requirements"): "dependencies deps requirements_file requirements_txt requirement pip",
    ("packages", "python.packages"): "pip_packages extra_packages modules",
    ("index_url", "python.index_url"): "index pip_index_url registry mirror",
    ("server",): "app_server wsgi_server asgi_server backend",
    ("health",): "healthcheck health_check healthchecks check probe liveness readiness",
    ("path", "health.path"): "endpoint uri url health_path healthcheck_path healthcheck_url",
    ("status",): "status_code status_codes code codes expect expected expected_status statuses",
    ("gunicorn", "settings"): "settings gunicorn_settings gunicorn_options options",
    ("uwsgi",): "uwsgi_settings uwsgi_options",
    ("granian",): "granian_settings granian_options",
    ("limits",): "resources mem_limit cpu_limit resource_limits",
    ("memory", "limits.memory"): "mem memory_limit memory_max memorymax max_memory ram mem_limit",
    ("cpu", "limits.cpu"): "cpus cpu_quota cpuquota",
    ("tasks", "limits.tasks"): "pids processes pids_limit tasks_max tasksmax",
    ("commands",): "hooks scripts",
    ("build", "commands.build"): "build_command build_commands before_build collectstatic npm assets",
    ("release", "commands.release"): (
        "deploy release_command release_commands migrate migrations migration deploy_command pre_deploy "
        "predeploy before_deploy post_deploy"
    ),
    ("static", "site.static"): (
        "static_path static_root static_url static_dir static_files staticfiles public statics"
    ),
    ("url",): "prefix location uri route",
    ("path",): "root alias",
    ("immutable",): "expires cache_control",
    ("max_body_size", "site.max_body_size"): "client_max_body_size max_upload_size body_limit max_request_size",
    ("port", "site.port"): "http_port listen_port ports expose listen",
    ("redirects", "site.redirects"): "redirect aliases domain_aliases",
    ("basic_auth", "site.basic_auth"): "auth htpasswd http_auth",
    ("headers",): "add_header add_headers response_headers cors",
    ("proxy_fix",): "proxy proxyfix behind_proxy forwarded_allow_ips",
    ("timeout",): "request_timeout timeout_seconds harakiri",
    ("threads",): "num_threads thread_count",
    ("name",): "app_name application_name project service title",
    ("version", "source.version"): "branch tag commit ref revision git_version git_branch",
    ("subdir", "source.subdir"): (
        "subdirectory sub_dir app_dir project_root app_root context working_dir workdir chdir working_directory"
    ),
    ("key", "source.key"): "deploy_key ssh_key key_file keyfile private_key privkey",
    ("mode",): "provider enabled type",
    ("extra",): "rewrite rewrites raw snippet custom",
    ("certificate",): "cert certfile cert_file crt fullchain certificate_file",
    ("command",): "cmd run exec execstart script start",
    ("count",): "instances replicas numprocs scale num processes_count",
    ("schedule",): "cron at when interval every timer on_calendar oncalendar crontab",
    ("stop_timeout",): "stopwaitsecs timeout_stop timeoutstopsec stop_grace_period",
    ("stop_signal",): "stopsignal killsignal kill_signal",
    ("start_seconds",): "startsecs",
    ("working_directory", "directory"): ("workingdirectory cwd working_dir workdir chdir directory working_directory"),
    ("restart_delay",): "restartsec restart_sec",
    ("process_manager",): "manager init supervisor service_manager",
}
# Words of other tools for which there is no key, and what holds instead.
REMARKS: tuple[tuple[str, str], ...] = (
    (
        "user group account run_as owner uid gid system_user app_user username",
        "Each application has an account of its own with its name. Remove the key.",
    ),
    (
        "restart autostart autorestart restart_policy always daemon enabled_at_boot",
        "Services start at boot and restart after a crash. Remove the key.",
    ),
    (
        "pidfile pid stdout_logfile stderr_logfile log_dir logs logging log logfile errorlog accesslog "
        "access_log error_log loglevel",
        "The process manager keeps the logs, and the playbook logs shows them. Write settings of the server "
        "below its name, as gunicorn: {{loglevel: debug}}.",
    ),
    (
        "depends_on after requires wants links",
        "Write directives of systemd below systemd, as systemd: {{After: […]}}.",
    ),
    (
        "networks network labels bind socket",
        "nginx reaches the application by a socket of its own. For visitors, set site.domains and site.port.",
    ),
    (
        "env_file environmentfile dotenv envfile",
        "Set the variables in env: one entry for each line of the file. Or write the file with files.",
    ),
    (
        "secrets secret vault",
        "Set secrets in env or files, encrypted by ansible-vault.",
    ),
    (
        "venv virtualenv venv_path virtual_env",
        "uv creates the virtual environments. Set python.interpreter and python.requirements.",
    ),
    (
        "pythonpath python_path",
        "Set it in env: {{PYTHONPATH: …}}.",
    ),
    (
        "worker_class max_requests max_requests_jitter preload preload_app graceful_timeout "
        "worker_connections umask keep_alive certfile",
        "It is a setting of the app server. Write it below the server's name, as gunicorn: {{{key}: …}}.",
    ),
    (
        "limitnofile nofile ulimit privatetmp protectsystem readwritepaths",
        "It is a directive of systemd. Write it below systemd, as systemd: {{{key}: …}}.",
    ),
    (
        "interval retries start_period",
        "The health check of a deployment asks until health.timeout. Set that.",
    ),
    (
        "web start run cmd execstart exec_start startup_command",
        "The web process is started for you. Set wsgi, server and workers.",
    ),
    (
        "env environment working_dir working_directory directory cwd",
        "All programs of an application have its env, and start in its application root. Remove the key.",
    ),
    (
        "numprocs count stopsignal stopwaitsecs startsecs exclusive",
        "Write it in an entry of processes.",
    ),
    (
        "email acme_email",
        "Set nginx_acme_email beside webapps.",
    ),
    (
        "apt apt_packages system_packages debian_packages",
        "Set python_packages beside webapps: it lists Debian packages.",
    ),
)


def word(key: str) -> str:
    """A key as the tables have it: ``WorkingDirectory`` and ``working-directory`` have other forms."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).replace("-", "_").lower()


TARGETS: dict[str, list[str]] = {}
for _keys, _words in KEYS.items():
    for _word in _words.split():
        TARGETS.setdefault(_word, []).extend(_keys)
SENTENCES = {name: sentence for names, sentence in REMARKS for name in names.split()}


def places(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of a specification, and those one level deeper, as dotted paths."""
    for name, spec in options.items():
        yield f"{prefix}{name}"
        if not prefix and spec.get("type") == "dict":
            yield from places(spec.get("options") or {}, f"{name}.")


def meant(key: str, options: dict[str, Any]) -> str:
    """A question or a sentence for a word of another tool; empty for others."""
    known, plain = [*places(options)], word(key)
    compact = plain.replace("_", "")
    for name in dict.fromkeys((plain, compact)):
        targets = TARGETS.get(name, [])
        here = [target for target in targets if target in options]
        deeper = [target for target in targets if target in known]
        for target in targets if not deeper else ():
            inner = [place for place in known if place.endswith(f".{target}")]
            deeper += inner if len(inner) == 1 else []
        found = here[:1] or [*dict.fromkeys(deeper)][:2]
        if found:
            return " Did you mean {}?".format(" or ".join(f"'{one}'" for one in found))
        if name in SENTENCES:
            return f" {SENTENCES[name].format(key=key)}"
    return ""


def meant_nearly(key: str, options: dict[str, Any]) -> str:
    """The same for a misspelt word."""
    near = difflib.get_close_matches(word(key), [*TARGETS, *SENTENCES], n=1, cutoff=0.87)
    return meant(near[0], options) if near else ""
