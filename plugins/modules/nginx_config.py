#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install nginx's whole configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Install nginx's configuration as a transaction, and load it
version_added: 0.1.0
description:
  - Takes all files of the configuration at once. If they differ from the live ones, they are written into a new folder
    beside it. nginx tests them as a whole, one link is renamed to make them live, and nginx loads them.
  - The reload is verified. nginx reports success even when it refuses a configuration, for example because a port is
    taken. So the module waits until new workers run the new tree.
  - If a step fails, the previous tree is live again, and nginx serves it. The module fails with nginx's own words, the
    site, and the line of the user's input.
  - Starts nginx if it does not run, by systemd where that is the init, otherwise as a daemon. Under systemd, nginx is
    enabled at boot.
  - If an earlier, interrupted run has not reloaded nginx, this run does. It compares the tree that nginx has loaded.
  - Files in C(conf.d) and C(sites-enabled) stay and are loaded. The distribution's default site is disabled if it is
    unchanged.
  - Installs the certificates of the sites, makes those that the host signs itself, and verifies after the reload that
    nginx serves them. Warns of each one that ends within 21 days and does not renew itself.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    support: full
    description: Predicts changes. nginx's own test needs the files on the host, so only the real run does it.
  diff_mode:
    description: Shows files before and after.
    support: full
options:
  files:
    description:
      - All files of the tree. One must be C(nginx.conf), the main file.
      - C(@TREE@) in a file stands for the folder of the tree. The main file must have the line C(error_log
        @TREE@/loaded emerg;), by which the module recognises the running configuration.
      - Lines with C(listen [...]) are left out on a host whose kernel has no IPv6.
      - Lines from C(#@ if FACT), or C(#@ unless FACT), to C(#@ else) or C(#@ end) are for some hosts only.
        Facts of nginx are C(http2_directive) (version 1.25.1), C(http3) and C(fresh_tickets) (nginx changes the keys
        of session tickets itself). C(mlkem) means that OpenSSL has the group X25519MLKEM768. C(certificate:NAME) means
        that the host has this certificate, and C(ocsp:NAME) that the certificate names a responder.
      - C(@CERTIFICATES@) stands for the folder of the certificates, and C(@CHALLENGES@) for the folder of the proofs
        for an ACME authority.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file, relative to the tree.
        type: str
        required: true
      content:
        description: The file's text.
        type: str
        required: true
  secret_files:
    description:
      - Files of the tree that only root and nginx may read (mode 0640), such as files of passwords. The keys are paths,
        and the values are texts. No diff and no log shows them.
    type: dict
    default: {}
  owners:
    description:
      - The lists of sites that O(files) hold in full. A site of such an owner that is not among the files is removed,
        and a warning names it. Sites of other owners that are on the host stay as they are.
      - A comment in a site's file names its owner. A site without this comment belongs to V(webapps) if it refers
        to the socket of a release, otherwise to V(nginx_sites).
    type: list
    elements: str
    choices: [webapps, nginx_sites, webapp_status_site]
    default: [nginx_sites]
  held:
    description:
      - Applications that could not be built. Sites that lead only to them stay as they are, with their certificates.
    type: list
    elements: str
    default: []
  applications:
    description:
      - Applications of the inventory, beside those that O(files) lead to. The site of another application stays as long
        as that application has a live release on the host.
    type: list
    elements: str
    default: []
  removed:
    description: Applications that are removed on purpose, with their sites. The module does not warn of them.
    type: list
    elements: str
    default: []
  certificates:
    description:
      - The certificates that the files use. A certificate of the modes V(selfsigned) and V(acme), or one given as text,
        is the file C(@CERTIFICATES@/NAME.pem), with chain and key.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the site and of the file.
        type: str
        required: true
      mode:
        description:
          - V(selfsigned) is signed by the host's own authority, C(@CERTIFICATES@/ca.crt).
          - V(provided) is given, as a text or as a path on the host.
          - V(acme) is ordered from O(acme), in a run with O(fetch).
        type: str
        choices: [selfsigned, provided, acme]
        required: true
      names:
        description: The names that it must be valid for. The default site has none, and gets those of the host.
        type: list
        elements: str
        default: []
      port:
        description: The port on which nginx serves it.
        type: int
        default: 443
      http_port:
        description: The port on which an authority requests the proof.
        type: int
        default: 80
      certificate:
        description: The certificate with its chain, in PEM form.
        type: str
        default: ""
      key:
        description: Its key, in PEM form.
        type: str
        default: ""
      certificate_path:
        description: Path of the certificate, with its chain, on the host.
        type: str
        default: ""
      key_path:
        description: Path of the key on the host.
        type: str
        default: ""
  acme:
    description: The authority of certificates of the mode V(acme).
    type: dict
    default: {}
    suboptions:
      directory:
        description: Address of its ACME directory.
        type: str
        default: ""
      email:
        description: Address for messages of the authority.
        type: str
        default: ""
      ca_bundle:
        description: File on the host with the certificates that verify the authority's own address.
        type: str
        default: ""
  ca_certificate:
    description: Certificate of the authority that signs certificates of the mode V(selfsigned). By default, the host
      makes an authority of its own.
    type: str
    default: ""
  ca_key:
    description: Its key.
    type: str
    default: ""
  fetch:
    description:
      - Whether to order the certificates of the mode V(acme) that are due. Each order takes seconds.
      - Otherwise they are returned as RV(due), and a site without a certificate has no fact C(certificate:NAME).
      - A failed order changes nothing. The module does everything else first, then it fails.
    type: bool
    default: false
  renewal:
    description:
      - The timer of C(/usr/local/lib/pyweb/certificates.pyz), a program that renews certificates and reloads nginx.
      - Installed where there are certificates to renew, and removed elsewhere. Without this input nothing is changed.
    type: dict
    suboptions:
      service:
        description: Text of the systemd service.
        type: str
        required: true
      timer:
        description: Text of its timer.
        type: str
        required: true
      cron:
        description: Text of a file in C(/etc/cron.d), used where systemd is not the init.
        type: str
        required: true
  state_dir:
    description: Folder for the account at the authority and for proofs.
    type: path
    default: /var/lib/pyweb
  drop_in:
    description: Text of a drop-in for C(nginx.service). Used only where systemd is the init.
    type: str
  conf_dir:
    description: nginx's configuration folder.
    type: path
    default: /etc/nginx
  pid_file:
    description: The file with the process id of the master.
    type: path
    default: /run/nginx.pid
  error_log:
    description: The main error log. It has nginx's own words when a start or reload fails.
    type: path
    default: /var/log/nginx/error.log
  init:
    description: The init that starts nginx. V(auto) is systemd where it runs as init, otherwise none.
    type: str
    choices: [auto, systemd, none]
    default: auto
"""

EXAMPLES = r"""
- name: Serve the sites
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *(nginx_sites | pyweb.stack.nginx_files)) }}"
"""

RETURN = r"""
actions:
  description: The changes that were made, or would be, in order.
  type: list
  elements: str
  returned: success
  sample: [install tree, reload]
tree:
  description: Folder of the live tree. In check mode, of the one that is live now, if any.
  type: str
  returned: success
removed_sites:
  description: Sites that this run removed from the live configuration, or would remove in check mode.
  type: list
  elements: str
  returned: success
due:
  description: Certificates of the mode V(acme) that a run with O(fetch) would order.
  type: list
  elements: str
  returned: success
ca:
  description: The file that a browser imports to trust certificates of the mode V(selfsigned). Empty without any.
  type: str
  returned: success
waiting:
  description:
    - Applications whose sites nginx does not serve yet. Another server, configured by hand, has one of their names and
      ports, and they have no live release.
  type: list
  elements: str
  returned: success
unowned:
  description: Files that nginx loads beside the tree, from C(conf.d) and C(sites-enabled).
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import ARGUMENTS, apply


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result, _seen = apply(module.params, run_on_host, module.check_mode)
    except NginxError as error:
        for warning in error.warnings:
            module.warn(warning)
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result["waiting"]:
        module.warn(
            f"nginx does not serve {', '.join(result['waiting'])} yet. A server that was configured by hand has the "
            "same name and port, and there is no live release. Deploy the application, then run the role nginx again."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
