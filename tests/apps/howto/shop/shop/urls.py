"""The pages: a health check, the admin, an upload, and the visitor as Django knows it."""

from django.contrib import admin
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


def visitor(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"address": request.META["REMOTE_ADDR"], "secure": request.is_secure()})


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(default_storage.url(default_storage.save("note.txt", request.FILES["file"])))


urlpatterns = [
    path("healthz", healthz),
    path("visitor", visitor),
    path("upload", upload),
    path("admin/", admin.site.urls),
]
