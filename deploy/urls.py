"""Every door of the platform."""

from django.contrib import admin
from django.urls import include, path

from deploy import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("demo/", include("deploy.demo.urls")),
    path("", include("lending.urls")),
    path("", include("risk.urls")),
]
