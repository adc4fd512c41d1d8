# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Configure a balancer: derive its sites from the web hosts, then change HAProxy and nginx."""

from __future__ import annotations

from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import HEALTH_SOCKET
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.balancers import both_problem, variables_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import (
    LookAction,
    Refused,
    failed,
    nginx_settings,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.packages import PackagesAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing import fleet, haproxy
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.addresses import AddressError
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.inventory import (
    OF_A_HOST,
    OF_VISITORS,
    peers_of,
    settings_of_visitors,
    web_hosts,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.sites import edge_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, packages
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import ACME_STAGING
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.obstacles import Wanted, host_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import input_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options

Given = dict[str, Any]

display = Display()

LEFT_OUT = "Visitors reach these sites on the web hosts, or set nginx_sites for the balancers, too."

# As in the defaults of the role nginx.
NGINX = ("nginx", "logrotate")
BROTLI = ("libnginx-mod-http-brotli-filter", "libnginx-mod-http-brotli-static")


class ActionModule(LookAction, PackagesAction):
    """Look at the host, then change it by the modules balancer_config and nginx_config."""

    returns = PackagesAction.returns | {"actions", "surplus", "due", "ca", "tree", "unowned", "removed_sites"}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={"fetch": {"type": "bool", "default": False}}
        )
        try:
            return self.configured(arguments["fetch"])
        except Refused as refused:
            return refused.answer
        except (AddressError, CertificateError) as error:
            return failed(str(error).split("\n"))

    def balancers(self) -> list[str]:
        """A balancer has none in front of it."""
        return []

    # The inventory

    def web_host_names(self, given: Given) -> list[str]:
        """The web hosts; raises Refused."""
        host = str(self.task_vars["inventory_hostname"])
        names = given["balancer"]["balancer_web_hosts"]
        if not names:
            pattern = self._templar.template(self.task_vars.get("pyweb_hosts") or "web")
            lookup = lookup_loader.get(
                "ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar
            )
            names = lookup.run([pattern], self.task_vars)
        unknown = [name for name in names if name not in self.task_vars["hostvars"]]
        if unknown:
            raise Refused(
                failed([f"balancer_web_hosts names {unknown[0]}, which is not in the inventory. Correct it."])
            )
        if not names:
            raise Refused(failed(["the inventory has no web hosts. List them in the group web."]))
        if host in names:
            raise Refused(failed([both_problem(host)]))
        return [str(name) for name in names]

    def variables(self, host: str) -> dict[str, Any]:
        """The variables of another host that a balancer needs."""
        theirs = self.task_vars["hostvars"][host]
        names = ("webapps", *OF_A_HOST, *OF_VISITORS)
        return {name: theirs[name] for name in names if name in theirs}

    def inputs(self) -> Given:
        """The inputs of the roles, with their defaults; raises Refused."""
        given = self.given_inputs()
        problems = input_problems({name: value for role in given.values() for name, value in role.items()})
        if problems:
            raise Refused(failed(problems))
        for role in ("balancer", "nginx"):
            defaults = {name: option.get("default") for name, option in role_options(role).items()}
            given[role] = {**defaults, **given[role]}
        return given

    def sites_left_out(self, names: list[str]) -> list[str]:
        """A warning for web hosts with sites of their own, which no balancer spreads."""
        if "nginx_sites" in self.task_vars:
            return []
        found = [name for name in names if "nginx_sites" in self.task_vars["hostvars"][name]]
        return [f"nginx_sites of {', '.join(found)}: balancers spread only webapps. {LEFT_OUT}"] if found else []

    # The host

    def configured(self, fetch: bool) -> dict[str, Any]:
        set_ = {name for name in role_options("nginx") if name in self.task_vars}
        given = self.inputs()
        names = self.web_host_names(given)
        hosts, problems = web_hosts(names, self.variables)
        apps, more = fleet.applications_of(hosts) if not problems else ([], [])
        if problems or more:
            raise Refused(failed([*problems, *more]))
        for text in self.sites_left_out(names):
            display.warning(text)
        own = {name: given["nginx"][name] for name in OF_VISITORS if name in set_}
        nginx = {**given["nginx"], **settings_of_visitors(own, names, self.variables)}
        singles = {name: value for name, value in nginx.items() if name != "nginx_sites"}
        own_sites = self.own_sites()
        sites, settings, problems = edge_sites(apps, own_sites, nginx_settings(singles))
        expired: dict[str, tuple[str, str]] = {}
        wanted = [] if problems else certificates(sites)
        texts, wrong = with_texts(wanted, self.pem, [app["name"] for app in apps], expired)
        if problems := [*problems, *wrong]:
            raise Refused(failed(problems))
        settings["edge"] = {"health": HEALTH_SOCKET, "peers": self.peers()}
        facts = self.prepare(given, [*apps, *own_sites], texts, expired)
        answer: dict[str, Any] = {"changed": False, "actions": [], "diff": [], "due": [], "ca": ""}
        self.install_missing(given, [*apps, *own_sites], facts, answer)
        checks = given["balancer"]["balancer_check_interval"], given["balancer"]["balancer_check_timeout"]
        units = {"units": haproxy.units(apps, hosts, *checks), "drop_in": text_of("balancer", "haproxy.service.conf")}
        # nginx needs what it uses now until it has its new configuration, and then what is new.
        first = self.change("balancer_config", {**units, "keep": True}, answer)
        owners = ["webapps", *(["nginx_sites"] if "nginx_sites" in self.task_vars else [])]
        self.change("nginx_config", self.nginx(sites, settings, texts, nginx, owners, fetch), answer)
        if first.get("surplus"):
            self.change("balancer_config", units, answer)
        return answer

    def peers(self) -> list[str]:
        host, groups = str(self.task_vars["inventory_hostname"]), self.task_vars.get("groups") or {}
        return peers_of(host, groups, lambda name: variables_of(self.task_vars, name, self._templar.template))

    def wanted_packages(self, given: Given, items: list[dict[str, Any]]) -> list[str]:
        nginx, balancer = given["nginx"], given["balancer"]
        required = nginx.get("nginx_required_packages") or [*NGINX, *(BROTLI if nginx["nginx_brotli"] else [])]
        added = [*nginx["nginx_packages"], *balancer["balancer_required_packages"], *balancer["balancer_packages"]]
        return list(dict.fromkeys([*required, *added, *packages(items)]))

    def prepare(
        self,
        given: Given,
        items: list[dict[str, Any]],
        texts: list[dict[str, Any]],
        expired: dict[str, tuple[str, str]],
    ) -> dict[str, Any]:
        """Look at the host; raises Refused."""
        wanted = self.wanted_packages(given, items)
        arguments = {
            "packages": wanted,
            "ports": [],
            "certificates": [item for item in texts if item["certificate_path"]],
            "names": [],
            "known": [],
            "interpreters": [],
            "expired": {name: one for name, (one, _problem) in expired.items()},
        }
        answer = self.look_at_host(arguments)
        if answer.get("failed"):
            raise Refused(answer)
        facts: dict[str, Any] = answer["ansible_facts"]["pyweb"]
        # An expired certificate that is deployed already causes a warning only.
        problems = [expired[name][1] for name in sorted(expired.keys() - {*facts["deployed_certificates"]})]
        problems += host_problems(Wanted([], packages=wanted, builds=False), facts)
        if facts["init"] != "systemd":
            problems.append(
                "a balancer needs systemd, but this host has none: nothing would start HAProxy after a boot or a crash."
                " Use a host with systemd in the group balancer."
            )
        if problems:
            raise Refused(failed(problems))
        return facts

    def install_missing(
        self, given: Given, items: list[dict[str, Any]], facts: dict[str, Any], answer: dict[str, Any]
    ) -> None:
        missing = sorted({*self.wanted_packages(given, items)} - {*facts["packages"]})
        if missing:
            result = self.install(missing, False, self.task_vars)
            if result.get("failed"):
                raise Refused(result)
            answer |= {"changed": True, "actions": [f"install package {name}" for name in missing]}

    def change(self, module: str, arguments: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """Run a module and add its result to the answer; raises Refused if it fails."""
        name = f"pyweb.stack.{module}"
        result = self._execute_module(module_name=name, module_args=arguments, task_vars=self.task_vars)
        if result.get("failed"):
            raise Refused(result)
        diffs = result.get("diff") or []
        answer["diff"] += diffs if isinstance(diffs, list) else [diffs]
        answer["actions"] += result.get("actions") or []
        answer["changed"] = bool(answer["changed"] or result.get("changed"))
        answer.setdefault("warnings", []).extend(result.get("warnings") or [])
        answer |= {key: result[key] for key in ("due", "ca") if key in result}
        return result

    def nginx(
        self,
        sites: list[dict[str, Any]],
        settings: dict[str, Any],
        texts: list[dict[str, Any]],
        given: dict[str, Any],
        owners: list[str],
        fetch: bool,
    ) -> dict[str, Any]:
        """The arguments of the module nginx_config."""
        files = tree_files(sites, settings)
        plain = [file for file in files if "secret" not in file]
        lookup = lookup_loader.get("pyweb.stack.templates", loader=self._loader, templar=self._templar)
        directory = ACME_STAGING if given["nginx_acme_staging"] else given["nginx_acme_directory"]
        return {
            "files": lookup.run(plain, {"ansible_search_path": [str(ROLES / "nginx")]}),
            "secret_files": {file["path"]: file["content"] for file in files if "secret" in file},
            "certificates": texts,
            "owners": owners,
            "acme": {
                "directory": directory,
                "email": given["nginx_acme_email"],
                "ca_bundle": given["nginx_acme_ca_bundle"],
            },
            "ca_certificate": self.pem(given["nginx_ca_certificate"] or "", "certificate"),
            "ca_key": self.pem(given["nginx_ca_key"] or "", "key"),
            "fetch": fetch,
            "renewal": {
                "service": text_of("nginx", "certificates.service"),
                "timer": text_of("nginx", "certificates.timer"),
                "cron": text_of("nginx", "certificates.cron"),
            },
            "drop_in": text_of("nginx", "nginx.service.conf"),
        }


def text_of(role: str, name: str) -> str:
    return (ROLES / role / "files" / name).read_text(encoding="utf-8")
