"""The one row that every process reads to know platform time."""

from django.db import models


class PlatformClock(models.Model):
    """Scaled platform time: sim_origin + (wall - wall_origin) * speed; with no row, platform time is wall time."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sim_origin = models.DateTimeField()
    wall_origin = models.DateTimeField()
    speed = models.DecimalField(max_digits=12, decimal_places=4)
    stop_at = models.DateTimeField(
        null=True, help_text="platform time at which a replayed scenario ends; time stands still there"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(name="clock_is_one_row", condition=models.Q(id=1)),
            models.CheckConstraint(name="clock_speed_not_negative", condition=models.Q(speed__gte=0)),
        ]
