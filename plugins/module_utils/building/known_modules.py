# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Modules and names that packages, Python and systems have under other names, or no longer. Data."""

from __future__ import annotations

# Modules whose packages have other names.
PACKAGES = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "corsheaders": "django-cors-headers",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "debug_toolbar": "django-debug-toolbar",
    "decouple": "python-decouple",
    "dj_database_url": "dj-database-url",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "environ": "django-environ",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "git": "GitPython",
    "google": "the google-… package of the service",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "multipart": "python-multipart",
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pymysql": "PyMySQL",
    "rest_framework": "djangorestframework",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socketio": "python-socketio",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
# Modules of the standard library, and the first version of Python that no longer has them.
PYTHON_LOST = {
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys(
        (
            *("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis"),
            *("nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"),
        ),
        "3.13",
    ),
    **dict.fromkeys(("formatter", "parser", "symbol"), "3.10"),
    "binhex": "3.11",
}
# Packages that still have such modules.
REPLACED = {
    "asynchat": "pyasynchat",
    "asyncore": "pyasyncore",
    "cgi": "legacy-cgi",
    "cgitb": "legacy-cgi",
    "crypt": "standard-crypt",
    "distutils": "setuptools",
    "imghdr": "standard-imghdr",
    "nntplib": "standard-nntplib",
    "pipes": "standard-pipes",
    "smtpd": "standard-smtpd",
    "sndhdr": "standard-sndhdr",
    "telnetlib": "standard-telnetlib",
    "xdrlib": "standard-xdrlib",
}
# Parts of packages that newer versions no longer have, and what to do.
LOST_PARTS = {
    "werkzeug.contrib.fixers": "Set proxy_fix: true instead, and remove the import.",
    "werkzeug.contrib.cache": "Use the package cachelib instead.",
    "werkzeug.contrib": "Instead of its ProxyFix, set proxy_fix: true and remove the import. Else choose 'werkzeug<1'.",
    "flask.ext": "Import flask_NAME instead of flask.ext.NAME.",
    "django.utils.six": "Use the package six instead.",
    "gevent.coros": "Import gevent.lock instead.",
    "starlette.graphql": "Choose 'starlette<0.17'.",
}
# Names that newer versions of packages no longer have, and the versions that have them.
LOST_NAMES = {
    **{("flask", name): "flask<3" for name in ("Markup", "escape")},
    **{("flask", name): "flask<2.3" for name in ("JSONEncoder", "_app_ctx_stack", "_request_ctx_stack")},
    **{("jinja2", name): "jinja2<3.1" for name in ("Markup", "escape", "contextfilter", "contextfunction")},
    ("itsdangerous", "json"): "itsdangerous<2.1",
    ("itsdangerous", "TimedJSONWebSignatureSerializer"): "itsdangerous<2.1",
    ("markupsafe", "soft_unicode"): "markupsafe<2.1",
    **{
        ("werkzeug", name): "werkzeug<3"
        for name in ("url_quote", "url_decode", "url_encode", "url_parse", "url_unquote")
    },
    **{("werkzeug", name): "werkzeug<1" for name in ("secure_filename", "cached_property")},
    ("werkzeug", "safe_str_cmp"): "werkzeug<2.1",
    ("django", "ugettext_lazy"): "django<4",
    ("django", "ugettext"): "django<4",
    ("django", "force_text"): "django<4",
    ("django", "url"): "django<4",
    ("pydantic", "BaseSettings"): "pydantic<2",
}
# The Debian packages of libraries that packages load at run time, by how the names of their files begin.
SYSTEM_LIBRARIES = {
    "libpq.so": "libpq5",
    "libGL.so": "libgl1",
    "libgthread-2.0": "libglib2.0-0",
    "libglib-2.0": "libglib2.0-0",
    "libgobject-2.0": "libglib2.0-0",
    "libpango-1.0": "libpango-1.0-0",
    "libpangoft2": "libpangoft2-1.0-0",
    "libpangocairo": "libpangocairo-1.0-0",
    "libcairo": "libcairo2",
    "libgdk_pixbuf": "libgdk-pixbuf-2.0-0",
    "libmariadb": "libmariadb3",
    "libmysqlclient": "libmariadb3",
    "libmagic": "libmagic1",
    "libxml2": "libxml2",
    "libxslt": "libxslt1.1",
    "libldap": "libldap2",
    "libgomp": "libgomp1",
    "libodbc": "unixodbc",
    "libgdal": "libgdal-dev",
    "libgeos": "libgeos-dev",
    "libzbar": "libzbar0",
    "libsndfile": "libsndfile1",
    "libSM": "libsm6",
    "libXext": "libxext6",
    "libXrender": "libxrender1",
}
