# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Pure tests: no process, no connection, no sleep. Test modules have the names of those in tests/local."""
