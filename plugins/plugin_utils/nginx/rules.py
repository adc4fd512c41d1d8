# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the values of a site, said once for ``nginx_sites`` and for ``webapps[].site``. Pure.

Each function reports to ``checker`` what is wrong. ``where`` is the path of the value in the user's own words, such as
``webapps 'shop'.site``, and begins every message.

For one value: ``check_range``, ``check_size``, ``check_file``, ``check_page``, ``check_text``, ``check_networks``,
``check_extra``, ``check_page_of_folder``, ``check_charset``. For a site: ``check_domains``, ``check_site_extra``,
``check_tls_source``, ``check_tls_names``. For a location: ``check_location``. For both: ``check_shared``,
``check_cache``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import inheritance, values, words
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import unbalanced
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# Whether a text names a page: an absolute path for nginx_sites, a path inside the application for webapps.
IsPage = Callable[[str], bool]

DAY, YEAR = 86400, 31_536_000  # seconds

# --- one value ----------------------------------------------------------------------------------------------------


def check_range(checker: Checker, value: float | None, where: str, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        number = "whole number" if isinstance(value, int) else "number"
        checker.problem(where, f"{value} is out of range. Use a {number} from {low} to {high}.")


def check_size(checker: Checker, text: str | None, where: str) -> None:
    if text is not None and not values.SIZE.fullmatch(text):
        checker.problem(
            where, f"'{text}' is not a size. Use a number of bytes, or a number with k, m or g, such as 16m."
        )


def check_file(checker: Checker, text: str | None, where: str, what: str) -> None:
    if text is not None and not values.is_path(text):
        checker.problem(where, f"'{text}' is not a {what}. Use an absolute path without '..' and '$'.")


def check_page(checker: Checker, text: str | None, where: str, is_page: IsPage = values.is_path) -> None:
    if text is not None and not is_page(text):
        example = "/srv/pages/sorry.html" if is_page is values.is_path else "errors/sorry.html"
        checker.problem(where, f"'{text}' is not a page's file. Use a path such as {example}, without '$'.")


def check_text(checker: Checker, text: str, where: str) -> None:
    if not values.TEXT.fullmatch(text):
        checker.problem(
            where,
            f"{text!r} has a '$' or a line break. nginx reads '$' as a variable, and a line break ends the line. Use "
            "other characters.",
        )


def check_networks(checker: Checker, networks: list[str] | None, where: str, words: tuple[str, ...] = ()) -> None:
    """Addresses and networks. ``words`` are other values that are allowed."""
    for network in networks or []:
        remedy = None if network in words else values.network_remedy(network)
        if remedy:
            checker.problem(where, f"'{network}' is not an address or network. {remedy}")


def check_extra(checker: Checker, text: str | None, where: str, block: str) -> None:
    if trouble := unbalanced(text or ""):
        checker.problem(where, f"it can't be printed into the {block}: {trouble}. Write whole directives.")


def check_page_of_folder(checker: Checker, text: str | None, where: str) -> None:
    """A file that is named relative to the folder that nginx serves."""
    if text is not None and (not text or "/" in (text[0], text[-1]) or not values.is_path(f"/{text}")):
        checker.problem(where, f"'{text}' is not a file of the folder. Use a relative path such as index.html.")


def check_charset(checker: Checker, text: str | None, where: str) -> None:
    if text is not None and not values.CHARSET.fullmatch(text):
        checker.problem(where, f"'{text}' is not a character set. Use one such as utf-8, or off.")


def check_site_extra(checker: Checker, text: str | None, where: str) -> None:
    """Directives for the server block, which must also have their effect in its locations."""
    check_extra(checker, text, where, "server block")
    for trouble in inheritance.problems(text or ""):
        checker.problem(where, trouble)


# --- a site -------------------------------------------------------------------------------------------------------


def check_domains(checker: Checker, site: dict[str, Any], where: str, underscores: bool = False) -> None:
    """Check ``domains`` and ``redirects``, and write them in lower case without a final dot.

    ``underscores`` allows them in the first label. Internal networks use such names; authorities certify none.
    """
    wrong = False
    for key in ("domains", "redirects"):
        for name in site[key]:
            if problem := words.problem("server_name", name):
                wrong = True
                checker.problem(f"{where}.{key}", f"'{name}': {problem}")
            elif problem := values.domain_problem(name, underscores):
                wrong = True
                checker.problem(f"{where}.{key}", f"'{name}' {problem}")
        site[key] = [values.domain(name) for name in site[key]]
    if wrong or not site["redirects"]:
        return
    if not site["domains"]:
        checker.problem(
            f"{where}.redirects",
            f"there is no domain to redirect '{site['redirects'][0]}' to. Name the main one under domains.",
        )
    elif site["domains"][0].startswith("*."):
        checker.problem(
            f"{where}.redirects",
            f"the first domain, '{site['domains'][0]}', is a pattern, and nothing can redirect to it. Name another "
            "first.",
        )


def check_tls_source(checker: Checker, tls: dict[str, Any], where: str) -> None:
    """Check where the certificate comes from."""
    mode = tls["mode"]
    check_range(checker, tls["port"], f"{where}.port", 1, 65535)
    for key in ("certificate", "key", "remote_src"):
        if mode != "provided" and tls[key]:
            checker.problem(f"{where}.{key}", f"it has no meaning with mode {mode}. Use mode: provided, or remove it.")
        elif mode == "provided" and not tls[key] and key != "remote_src":
            checker.problem(f"{where}.{key}", "it is missing. Mode provided needs both certificate and key.")
    if mode == "provided" and tls["remote_src"]:
        for key in ("certificate", "key"):
            if tls[key] and not values.is_path(tls[key]):
                checker.problem(f"{where}.{key}", "with remote_src, give an absolute path on the host.")


def check_tls_names(checker: Checker, site: dict[str, Any], where: str) -> None:
    """Check whether the site's names can have a certificate of its mode. ``where`` is the path of ``tls``."""
    mode = site["tls"]["mode"]
    if mode == "none":
        return
    names = [*site["domains"], *site["redirects"]]
    for name in filter(values.is_address, names):
        checker.problem(
            where,
            f"'{name}' is an address. A browser sends no server name for an address, so only the default site can "
            "answer with TLS. Remove the domains, or give the host a name.",
        )
    if mode != "acme":
        return
    if not names:
        checker.problem(
            where, "an authority certifies names, but the site has no domains. Add them, or use selfsigned."
        )
    for name in names:
        if name.startswith("*."):
            checker.problem(
                where, f"'{name}' can be proved only by DNS, not over http. Name each host, or use mode: provided."
            )


# --- a location, and what a site and a location have in common ----------------------------------------------------


def check_location(checker: Checker, location: dict[str, Any], where: str, is_page: IsPage = values.is_path) -> None:
    """Check the keys of a location. Keys that the kind of location does not have count as not given."""
    check_shared(checker, location, where, is_page)
    check_extra(checker, location["extra"], f"{where}.extra", "location block")
    for key in ("read_timeout", "connect_timeout"):
        check_range(checker, location.get(key), f"{where}.{key}", 1, DAY)
    check_range(checker, location.get("retry_after"), f"{where}.retry_after", 1, YEAR)
    check_size(checker, location["max_temp_file_size"], f"{where}.max_temp_file_size")
    for place in location.get("fallback") or []:
        check_file(checker, place, f"{where}.fallback", "folder")
    check_page_of_folder(checker, location.get("page"), f"{where}.page")
    check_charset(checker, location.get("charset"), f"{where}.charset")
    if location.get("internal") and location.get("page"):
        checker.problem(f"{where}.page", "an internal folder has no pages for visitors. Remove it.")
    check_cache(checker, location, where)


def check_shared(checker: Checker, item: dict[str, Any], where: str, is_page: IsPage = values.is_path) -> None:
    """Check the keys that a site and a location have in common."""
    check_size(checker, item.get("max_body_size"), f"{where}.max_body_size")
    for key in ("allow", "deny"):
        check_networks(checker, item[key], f"{where}.{key}", ("all",))
    check_limits(checker, item, where)
    check_users(checker, item["basic_auth"], f"{where}.basic_auth")
    check_headers(checker, item["headers"], f"{where}.headers")
    for number, own in enumerate(item["error_pages"] or [], start=1):
        here = f"{where}.error_pages no. {number}"
        for status in own["status"]:
            check_range(checker, status, f"{here}.status", 400, 599)
        if not own["status"]:
            checker.problem(f"{here}.status", "it is empty. Give one status or more, such as [502, 503, 504].")
        check_page(checker, own["page"], f"{here}.page", is_page)
    check_maintenance(checker, item.get("maintenance"), f"{where}.maintenance", is_page)


def check_headers(checker: Checker, headers: dict[Any, Any] | None, where: str) -> None:
    for name, value in (headers or {}).items():
        if not isinstance(name, str) or not values.HEADER.fullmatch(name):
            checker.problem(where, f"'{name}' is not a header's name. Use letters, digits and '-'.")
        elif problem := words.problem("add_header", name):
            checker.problem(where, f"'{name}': {problem}")
        elif not isinstance(value, (str, int)) or isinstance(value, bool):
            checker.problem(f"{where}.{name}", "a header's value is a string. Put it between quotes.")
        else:
            check_text(checker, str(value), f"{where}.{name}")


def check_limits(checker: Checker, item: dict[str, Any], where: str) -> None:
    if limit := item["rate_limit"]:
        if not values.RATE.fullmatch(limit["rate"] or ""):
            checker.problem(f"{where}.rate_limit.rate", f"'{limit['rate']}' is not a rate. Write it as 10r/s or 30r/m.")
        check_range(checker, limit["burst"], f"{where}.rate_limit.burst", 0, 100_000)
    check_range(checker, item["connection_limit"], f"{where}.connection_limit", 1, 65535)


def check_users(checker: Checker, auth: dict[str, Any] | None, where: str) -> None:
    """No message shows a hash, or a password that was given instead of one."""
    if not auth:
        return
    check_text(checker, auth["realm"], f"{where}.realm")
    if problem := words.problem("auth_basic", auth["realm"]):
        checker.problem(f"{where}.realm", f"'{auth['realm']}': {problem}")
    for name, hashed in (auth["users"] or {}).items():
        if not values.USER.fullmatch(str(name)):
            checker.problem(
                f"{where}.users",
                f"'{str(name).split(':', maxsplit=1)[0]}' can't be a user's name. Use one without ':' and '#'.",
            )
        elif not isinstance(hashed, str) or not values.PASSWORD_HASH.fullmatch(hashed):
            checker.problem(
                f"{where}.users.{name}",
                "this is not a password hash that nginx knows. Write what 'openssl passwd -6' prints for the password.",
            )
        elif not values.is_cheap_hash(hashed):
            checker.problem(
                f"{where}.users.{name}",
                "this hash is too expensive: nginx computes it for each request, and its worker serves no other client "
                "meanwhile. Write what 'openssl passwd -6' prints for a long password. Also allowed: bcrypt up to cost "
                f"{values.MOST_BCRYPT:02}, and SHA-256 or SHA-512 up to {values.MOST_ROUNDS} rounds.",
            )


def check_maintenance(
    checker: Checker, maintenance: dict[str, Any] | None, where: str, is_page: IsPage = values.is_path
) -> None:
    if not maintenance:
        return
    check_page(checker, maintenance["page"], f"{where}.page", is_page)
    check_range(checker, maintenance["retry_after"], f"{where}.retry_after", 1, YEAR)
    check_networks(checker, maintenance["allow"], f"{where}.allow")
    for path in maintenance["open_paths"]:
        if not values.location_path(path):
            checker.problem(f"{where}.open_paths", f"'{path}' is not the path of a URL. Use one such as /healthz.")


def check_cache(checker: Checker, location: dict[str, Any], where: str) -> None:
    cache = location["cache"]
    if not cache:
        return
    check_range(checker, cache["valid"], f"{where}.cache.valid", 1, YEAR)
    check_size(checker, cache["max_size"], f"{where}.cache.max_size")
    for name in cache["bypass_cookies"]:
        if not values.COOKIE.fullmatch(name):
            checker.problem(
                f"{where}.cache.bypass_cookies",
                f"'{name}' is not the name of a cookie here. Use letters, digits and '_', and * for any end, such as "
                "session*.",
            )
    if location["websocket"]:
        checker.problem(f"{where}.cache", "nginx can't cache a WebSocket. Give it a location of its own.")
    if location["buffering"] is False:
        checker.problem(
            f"{where}.cache", "nginx caches only what it buffers. Remove buffering: false, or remove the cache."
        )
