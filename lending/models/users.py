"""Users and the roles they are granted."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models

from lending.models.fields import PublicIdField


class UserManager(BaseUserManager["User"]):
    """Creates users by e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Return a new user; without a password the user can not sign in."""
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        """Return a new user who may do everything in the admin that is not under dual control."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in, of the desk or of a client."""

    public_id = PublicIdField()
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120)
    phone = models.CharField(max_length=30, blank=True, help_text="where a borrower reaches a person of the desk")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    def __str__(self) -> str:
        return self.name or self.email


class Role(models.TextChoices):
    """What a person of the desk, or of a client, is there to do."""

    RELATIONSHIP_MANAGER = "relationship_manager", "Relationship manager"
    RISK = "risk", "Risk"
    RISK_HEAD = "risk_head", "Risk head"
    DESK_TRADER = "desk_trader", "Desk trader"
    DESK_HEAD = "desk_head", "Desk head"
    OPERATIONS = "operations", "Operations"
    COMPLIANCE = "compliance", "Compliance"
    AUDITOR = "auditor", "Auditor"
    BORROWER_ADMIN = "borrower_admin", "Borrower admin"
    BORROWER_VIEWER = "borrower_viewer", "Borrower viewer"


class RoleGrant(models.Model):
    """One role of one staff user; borrowers' roles stand on ClientUser."""

    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="role_grants")
    role = models.CharField(max_length=24, choices=Role.choices)
    granted_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    granted_at = models.DateTimeField()
    revoked_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="role_ended_by_somebody",
                condition=models.Q(revoked_by__isnull=True, revoked_at__isnull=True)
                | models.Q(revoked_by__isnull=False, revoked_at__isnull=False),
            ),
            models.UniqueConstraint(
                name="role_granted_once", fields=["user", "role"], condition=models.Q(revoked_at=None)
            ),
            models.CheckConstraint(
                name="role_not_granted_to_oneself", condition=~models.Q(user=models.F("granted_by"))
            ),
        ]
