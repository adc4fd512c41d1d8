"""The callable."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "catalogue.settings")
application = get_wsgi_application()
# Each host of the tests has a database of its own, but a release command runs on one host alone. The import check of a
# build runs this before any worker does.
call_command("migrate", interactive=False, verbosity=0)
