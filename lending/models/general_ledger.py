"""How the desk's own general ledger calls what stands on our chart of accounts."""

from django.db import models

from lending.engine.chart import AccountKind


class GlCode(models.Model):
    """The code under which a kind of account goes into the general ledger, for all assets or for one."""

    kind = models.CharField(max_length=24, choices=[(kind.value, kind.value) for kind in AccountKind])
    asset = models.ForeignKey(
        "lending.Asset", on_delete=models.PROTECT, null=True, blank=True, help_text="empty: every asset without its own"
    )
    code = models.CharField(max_length=20)
    name = models.CharField(max_length=80)

    class Meta:
        verbose_name = "GL code"
        ordering = ["code", "kind"]
        constraints = [
            models.UniqueConstraint(name="gl_code_once", fields=["kind", "asset"], nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"
