# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Apply the plan of this host, part by part, and record each verified part."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.plan.failures import belongs_to
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import Releases, report


class PartFailed(Exception):
    """A part of the plan failed; ``answer`` is the failed result, with the results of earlier parts."""

    def __init__(self, message: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.answer = {**answer, "msg": message}


class Application:
    """Apply one plan to this host.

    Definitions are applied between the build and the switch. So a failed build changes nothing, and a release that
    starts has its unit. An application that fails holds up no other: its definitions and its site stay as they are, and
    the answer of the part webapp has its message in ``failures``. Certificates that an authority must sign come last.
    So a site that can't get one yet is already served over HTTP.
    """

    def __init__(self, run: Run, check_mode: bool, finish: bool = True) -> None:
        self.run = run
        # Whether this call obtains certificates. If other hosts must finish first, a later call obtains them.
        self.finish = finish
        self.check_mode = check_mode
        self.releases: Releases | None = None
        self.answer: dict[str, Any] = {"changed": False, "parts": {}, "diff": [], "warnings": []}

    def apply(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """Apply ``parts``, dictionaries of role, inputs and key, in their order; raises PartFailed."""
        by_role = {part["role"]: part for part in parts}
        for role in ("python", "webapp", "systemd", "supervisor", "nginx"):
            if role in by_role:
                self.apply_part(by_role[role])
            webapp = self.answer["parts"].get("webapp", {})
            waits = any(webapp.get(key) for key in ("missing_sources", "missing_packages", "unresolved"))
            if waits and not self.check_mode:
                return self.answer
        if self.releases:
            self.switch(by_role["webapp"], self.releases)
        if self.finish:
            self.finish_nginx(by_role.get("nginx"))
        if "status_site" in by_role:
            # Last, because the page shows the releases that are live by now.
            self.apply_part(by_role["status_site"])
        return self.answer

    def finish_nginx(self, part: dict[str, Any] | None) -> None:
        """Let sites that waited for their releases replace what served before, and obtain certificates."""
        nginx = self.answer["parts"].get("nginx", {})
        if part and (nginx.get("waiting") or nginx.get("retiring")) and not self.check_mode:
            self.apply_part(part)
        if part and self.answer["parts"]["nginx"].get("due"):
            self.apply_part({**part, "inputs": {**part["inputs"], "fetch": True}})

    def apply_part(self, part: dict[str, Any]) -> None:
        role = part["role"]
        inputs = self.without_failed(role, part["inputs"])
        try:
            result, seen = getattr(self, role)(inputs)
        except (HostError, OSError, KeyError) as error:
            warnings = list(getattr(error, "warnings", ()))
            self.add(role, {"warnings": warnings})
            raise PartFailed("\n\n".join([*self.problems, message_of(role, error)]), self.answer) from error
        self.add(role, result)
        # A part that leaves out something is not verified.
        if seen is not None and part["key"] and inputs is part["inputs"] and not self.check_mode:
            stamps.record(role, part["key"], seen)

    @property
    def problems(self) -> list[str]:
        """The messages of the applications that failed."""
        return self.releases.failures.problems if self.releases else []

    def without_failed(self, role: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of a part without those of applications that failed: what these have on the host stays."""
        if not self.releases or not self.releases.failures.names:
            return inputs
        if role == "nginx":
            return {**inputs, "held": self.releases.held} if self.releases.held else inputs
        key = {"systemd": "services", "supervisor": "programs"}.get(role)
        if key is None:
            return inputs
        names = self.releases.failures.names
        return {**inputs, key: [one for one in inputs[key] if not belongs_to(one["name"], names)]}

    def add(self, role: str, result: dict[str, Any]) -> None:
        """Add the result of a part, or of its second step, to the answer."""
        result = dict(result)
        diff = result.pop("diff", [])
        self.answer["diff"] += diff if isinstance(diff, list) else [diff]
        self.answer["warnings"] += result.pop("warnings", [])
        before = self.answer["parts"].get(role, {})
        result["changed"] = bool(result.get("changed") or before.get("changed"))
        self.answer["parts"][role] = {**before, **result}
        self.answer["changed"] = self.answer["changed"] or result["changed"]

    def switch(self, part: dict[str, Any], releases: Releases) -> None:
        """Switch to the built releases, and record them if all of them are live."""
        if waiting := self.answer["parts"].get("nginx", {}).get("waiting"):
            # nginx does not serve these yet, so no question through it would reach them.
            releases.skip_front(waiting)
        try:
            self.add("webapp", {**releases.switch(), "diff": []})
        except (HostError, OSError, KeyError) as error:
            self.add("webapp", {"diff": []})
            raise PartFailed("\n\n".join([*self.problems, message_of("webapp", error)]), self.answer) from error
        seen = releases.witnesses()
        if seen is not None and part["key"]:
            stamps.record("webapp", part["key"], seen, report(releases.wanted))
        stamp = releases.stamp()
        self.answer["parts"]["webapp"]["stamp"] = {"key": part["key"], **stamp} if stamp else {}

    # The code of a part is imported only if the part is applied, because the host compiles every import.

    def python(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        from ansible_collections.pyweb.stack.plugins.module_utils.host import uv

        result, seen = uv.apply(inputs, self.run, self.check_mode)
        if "archives" in inputs:
            from ansible_collections.pyweb.stack.plugins.module_utils.release.listed_pythons import apply_archives

            changed = apply_archives(inputs["archives"], f"{inputs['home']}/bin/uv", self.check_mode)
            result = {**result, "changed": bool(result["changed"] or changed)}
        return result, seen

    def webapp(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        self.releases = Releases(inputs, self.run, self.check_mode)
        return self.releases.build(), None

    def systemd(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        from ansible_collections.pyweb.stack.plugins.module_utils.processes import systemd

        return systemd.apply(complete(inputs, systemd.ARGUMENTS), self.run, self.check_mode)

    def supervisor(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        from ansible_collections.pyweb.stack.plugins.module_utils.processes import supervisor

        return supervisor.apply(complete(inputs, supervisor.ARGUMENTS), self.run, self.check_mode)

    def nginx(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        from ansible_collections.pyweb.stack.plugins.module_utils.nginx import transaction

        given = {key: value for key, value in inputs.items() if key != "adopted"}
        result, seen = transaction.apply(complete(given, transaction.ARGUMENTS), self.run, self.check_mode)
        return self.retire(inputs["adopted"], result, seen) if inputs.get("adopted") else (result, seen)

    def status_site(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        from ansible_collections.pyweb.stack.plugins.module_utils.publishing import installing

        return installing.apply(inputs, self.run, self.check_mode)

    def retire(
        self, adopted: list[dict[str, Any]], result: dict[str, Any], seen: dict[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Retire the old services of applications that nginx serves from their releases now."""
        from ansible_collections.pyweb.stack.plugins.module_utils.adoption.retirement import retire

        retired = retire(adopted, result["waiting"], self.run, self.check_mode)
        result["warnings"] += retired.pop("warnings")
        changed = bool(result["changed"] or retired["retired"])
        is_done = not (retired["retiring"] or retired["used"])
        return {**result, **retired, "changed": changed}, seen if is_done else None


def message_of(role: str, error: Exception) -> str:
    """The message of an error that stopped a part. A KeyError says only the key."""
    if isinstance(error, KeyError):
        return (
            f"role {role}: the key {error} is missing in its inputs or in a file of this host. This is a fault of the "
            "collection: please report it, with the output of this run."
        )
    return str(error)


def complete(inputs: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The inputs, with defaults for the missing ones; raises HostError if any are wrong."""
    result = ArgumentSpecValidator(arguments).validate(inputs)
    if result.error_messages:
        raise HostError("\n".join(result.error_messages))
    complete_inputs: dict[str, Any] = result.validated_parameters
    return complete_inputs
