"""Addresses of a call's page in the portal, and of the console."""

from django.urls import path

from risk.console import stream, views
from risk.portal import views as portal

urlpatterns = [
    path("portal/loans/<uuid:public_id>/what-if/", portal.what_if, name="portal_what_if"),
    path("portal/calls/<uuid:public_id>/", portal.call, name="portal_call"),
    path("portal/calls/<uuid:public_id>/transfers/", portal.deposits, name="portal_call_deposits"),
    path("portal/calls/<uuid:public_id>/acknowledge/", portal.acknowledge, name="portal_acknowledge"),
    path("console/", views.queue, name="console_queue"),
    path("console/rows/", views.rows, name="console_rows"),
    path("console/stream/", stream.stream, name="console_stream"),
    path("console/calls/<uuid:public_id>/", views.call, name="console_call"),
    path("console/calls/<uuid:public_id>/claim/", views.claim, name="console_claim"),
    path("console/calls/<uuid:public_id>/two-keys/", views.ask_two_keys, name="console_two_keys"),
    path("console/marks/", views.marks, name="console_marks"),
    path("console/incidents/", views.incidents, name="console_incidents"),
    path("console/incidents/<uuid:public_id>/acknowledge/", views.acknowledge, name="console_acknowledge"),
]
