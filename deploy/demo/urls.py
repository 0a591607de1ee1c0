"""Addresses of the demo's doors."""

from django.urls import path

from deploy.demo import doors

urlpatterns = [
    path("hide/", doors.hide, name="demo_hide"),
    path("now/", doors.now, name="demo_now"),
    path("", doors.page, name="demo_page"),
    path("letters/", doors.letters_written, name="demo_letters"),
    path("strip/", doors.strip, name="demo_strip"),
    path("speed/", doors.speed, name="demo_speed"),
    path("jump/", doors.jump, name="demo_jump"),
    path("venue/", doors.venue, name="demo_venue"),
    path("kill/", doors.kill, name="demo_kill"),
    path("send/<uuid:public_id>/", doors.send, name="demo_send"),
    path("pledge/<uuid:public_id>/", doors.pledge, name="demo_pledge"),
]
