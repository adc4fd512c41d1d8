# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Tests with real processes on this machine: nginx, supervisord, application servers, git, Ansible."""
