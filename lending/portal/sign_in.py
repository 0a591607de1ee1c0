"""Sign-in: one page for everybody, and the door at which each role lands."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from lending import access
from lending.access import AnyUser

PORTAL, CONSOLE, ADMIN, SIGN_IN = "/portal/", "/console/", "/admin/", "/sign-in/"


def landing(user: AnyUser) -> str:
    """Return the address of a user's own door."""
    held = access.roles_of(user)
    if held & access.RISK_ROLES:
        return CONSOLE
    if held & access.STAFF_ROLES:
        return ADMIN
    return PORTAL


class SignInForm(AuthenticationForm):
    """E-mail and password; what was wrong is never told apart."""

    username = forms.EmailField(
        label="E-mail", widget=forms.EmailInput(attrs={"autofocus": True, "autocomplete": "username"})
    )
    error_messages = {
        "invalid_login": "That e-mail and password do not go together. Capital letters count in the password.",
        "inactive": "That e-mail and password do not go together. Capital letters count in the password.",
    }

    def clean_username(self) -> str:
        """Return the address as it is stored, so that the count of failures does not depend on its spelling."""
        return str(self.cleaned_data["username"]).lower()


class FirstPasswordView(PasswordResetConfirmView):
    """Where a person who was added to a client chooses a password, by the link that was sent to them alone."""

    template_name = "first_password.html"
    post_reset_login = True
    post_reset_login_backend = "django.contrib.auth.backends.ModelBackend"

    def get_success_url(self) -> str:
        """Return the door of whoever just chose a password, and is signed in with it."""
        return landing(self.request.user)


class SignInView(LoginView):
    """The sign-in page."""

    template_name = "sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get_success_url(self) -> str:
        """Return where the visitor wanted to go; this page itself is nowhere to go."""
        wanted = super().get_success_url()
        return self.get_default_redirect_url() if wanted == self.request.path else wanted

    def get_default_redirect_url(self) -> str:
        """Return the door of whoever just signed in."""
        return landing(self.request.user)


def locked_out(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    """Say that there were too many failures, and when to come back."""
    return render(request, "locked_out.html", status=429)


@require_safe
def front(request: HttpRequest) -> HttpResponseRedirect:
    """Send a visitor to their own door, or to sign in."""
    return redirect(landing(request.user) if request.user.is_authenticated else SIGN_IN)
