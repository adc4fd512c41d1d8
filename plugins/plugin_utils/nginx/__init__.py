# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files that nginx reads, made from a list of sites. All pure.

``checks`` checks the inputs, by the ``rules`` for single values, and ``tree`` makes the files. ``configuration`` does
both.
``upstreams``, ``locations``, ``access`` and ``tls`` make the parts of a site, and ``directives`` single lines.
"""
