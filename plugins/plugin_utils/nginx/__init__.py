# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From a list of sites to the files that nginx reads.

``checks`` holds the input against the role's argument specification and against itself, ``plan`` makes the files of it,
``upstreams``, ``locations`` and ``access`` the parts of a site, ``directives`` single lines. All pure.
"""
