"""A page that reads and writes, and a page that shows the environment of the process."""

import os

from django.http import HttpRequest, JsonResponse

from .models import Book


def books(request: HttpRequest) -> JsonResponse:
    if request.method == "POST":
        Book.objects.create(title=request.POST["title"])
    return JsonResponse({"books": [str(book) for book in Book.objects.all()]})


def told(request: HttpRequest) -> JsonResponse:
    env = {key: value for key, value in os.environ.items() if key.startswith(("TOLD_", "WEBAPP_"))}
    return JsonResponse(
        {
            "env": env,
            "visitor": [request.scheme, request.get_host(), request.META.get("REMOTE_ADDR")],
            "pid": os.getpid(),
        }
    )
