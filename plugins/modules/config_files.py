#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write many files with one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Write many files with one call
version_added: 0.1.0
description:
  - Brings a list of files to their content, mode and owner, each by an atomic rename, in one trip to the host.
  - Render the contents with P(pyweb.stack.templates#lookup).
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Predicts changes without making them.
    support: full
  diff_mode:
    description: Shows files before and after.
    support: full
options:
  files:
    description:
      - The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Absolute path. Its folder is made if it is missing, owned by root, with the mode 0755.
        type: path
        required: true
      content:
        description:
          - Text of the file.
        type: str
        required: true
      mode:
        description:
          - Mode in octal, as a string.
        type: str
        default: "0644"
      owner:
        description:
          - Name of the owner.
        type: str
        default: root
      group:
        description:
          - Name of the group.
        type: str
        default: root
"""

EXAMPLES = r"""
- name: Write two files
  pyweb.stack.config_files:
    files:
      - {path: /etc/shop/shop.conf, content: "colour = blue\n"}
      - {path: /etc/shop/run, content: "#!/bin/sh\nexec shop\n", mode: "0755"}
"""

RETURN = r"""
paths:
  description: The files that were changed.
  type: list
  elements: str
  returned: always
"""

import os  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True},
                    "mode": {"type": "str", "default": "0644"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                },
            }
        },
        supports_check_mode=True,
    )
    try:
        files = [
            File(item["path"], item["content"], int(item["mode"], 8), item["owner"], item["group"])
            for item in module.params["files"]
        ]
    except ValueError as error:
        module.fail_json(msg=f"A mode is an octal number between quotes, such as '0644': {error}")
    try:
        if not module.check_mode:
            for folder in sorted({os.path.dirname(file.path) for file in files}):
                os.makedirs(folder, mode=0o755, exist_ok=True)
        paths, diffs = apply_files(files, module.check_mode)
    except KeyError as error:
        module.fail_json(msg=f"Writing files failed: {error.args[0]}. Make that account or group first.")
    except OSError as error:
        module.fail_json(msg=f"Writing {error.filename} failed: {error.strerror}.")
    module.exit_json(changed=bool(paths), paths=paths, diff=diffs)


if __name__ == "__main__":
    main()
