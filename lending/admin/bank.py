"""What the desk's banks say: statements in, each line accounted for, bank and books side by side."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from lending import access, audit, bank_files, bank_lines, bank_statements, clock, matching, staff
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import BankAccount, BankLine, BankStatement, Entry, Loan, Role
from lending.staff import Page, roles
from lending.typed import first_error, key_of

# Whoever sets the limit does not work the lines.
LIMIT_SETTERS = frozenset({Role.RISK_HEAD})
_ROWS = 100


class UploadForm(forms.Form):
    """A file of statements."""

    file = forms.FileField(
        label="Statement",
        help_text="camt.053 or MT940, up to 5 MB. The same file twice, or one that overlaps, adds only what is new.",
        error_messages={"required": "Choose a file.", "empty": "The file is empty.", "missing": "Choose a file."},
    )

    def clean_file(self) -> UploadedFile:
        """Return the file, unless it is larger than any statement: it is not even read then."""
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > bank_files.SIZE:
            raise forms.ValidationError(
                f"The file has {file.size:,} bytes; a bank statement has at most {bank_files.SIZE:,}."
            )
        return file


@require_http_methods(["GET", "HEAD", "POST"])
def bank(request: HttpRequest) -> HttpResponse:
    """Show each account beside the books and the lines that are open, and take statements in."""
    may_work = bool(roles(request) & bank_lines.WORKERS)
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    problem = ""
    if request.method == "POST":
        if not may_work:
            raise PermissionDenied
        if form.is_valid():
            problem = _import(request, form.cleaned_data["file"])
            if not problem:
                return HttpResponseRedirect(reverse("admin:lending_bank"))
    lines = BankLine.objects.filter(state=BankLine.State.OPEN).select_related("account", "asset")
    now = staff.now(request)
    context = {
        **admin.site.each_context(request),
        "title": "Bank",
        "form": form if may_work else None,
        "problem": problem,
        "standing": bank_statements.standing(),
        "lines": list(lines[:_ROWS]),
        "open": lines.count(),
        "old": (now - bank_lines.OLD).date(),
        "now": now,
    }
    return TemplateResponse(request, "admin/bank.html", context, status=422 if form.is_bound else 200)


def _import(request: HttpRequest, file: UploadedFile) -> str:
    """Take a file in, and return why not."""
    by: Any = request.user
    try:
        taken = bank_statements.import_file(file.read(), file_name=file.name or "", by=by, now=clock.now())
    except bank_statements.UnableToImport as refused:
        return f"Nothing was taken: {refused}."
    for one in taken:
        lines = f"{one.new_lines} new line{'' if one.new_lines == 1 else 's'}, {one.known_lines} known already"
        messages.success(request, f"{one.statement.account}, statement {one.statement}: {lines}.")
    return ""


def old_lines(request: HttpRequest, subject: access.AnyUser, *, now: datetime) -> SafeString:
    """Return the lines of statements that have been open for days, to whoever works them."""
    if not roles(request) & bank_lines.WORKERS:
        return SafeString("")
    old = (now - bank_lines.OLD).date()
    rows = BankLine.objects.filter(state=BankLine.State.OPEN, booked_date__lte=old).select_related("account", "asset")
    shown = list(rows[: _ROWS + 1])
    if not shown:
        return SafeString("")
    context = {"lines": shown[:10], "more": len(shown) > 10, "now": now, "old": old}
    return render_to_string("admin/home/bank.html", context, request=request)


@admin.register(BankAccount)
class BankAccountAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("name", "identifier", "asset", "custodian", "reported_live", "second_person_above")
    fields = ("code", "name", "identifier", "asset", "custodian", "reported_live", "second_person_above")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(roles(request) & LIMIT_SETTERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(roles(request) & LIMIT_SETTERS)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the fields as they are typed, to whoever may."""
        return self.fields if self.has_change_permission(request) else super().get_fields(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what stays as it was set up: the statements that came rest on it."""
        return ("code", "identifier", "asset", "custodian") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer currencies alone: no bank keeps an account in coins."""
        if db_field.name == "asset":
            kwargs["queryset"] = db_field.related_model.objects.filter(kind="fiat").order_by("code")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: BankAccount, form: Any, change: bool) -> None:
        """Write what was set, and who set it."""
        names = ("name", "reported_live", "second_person_above")
        before = BankAccount.objects.filter(pk=obj.pk).values(*names).first() if change else None
        obj.save(update_fields=names if change else None)
        facts = [{name: str(value) for name, value in one.items()} for one in (before or {}, _facts(obj, names))]
        actor: Any = request.user
        now = clock.now()
        audit.write("bank_account_set", actor=actor, obj=obj, before=facts[0], after=facts[1], now=now)


def _facts(row: BankAccount, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


class StatementLines(Lines):
    seen_by = SEE_BOOKS
    model = BankLine
    fields = readonly_fields = ("booked_date", "amount", "ref", "payer", "text", "state")


@admin.register(BankStatement)
class BankStatementAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("number", "account", "opening_date", "closing_date", "opening", "closing", "form", "imported_at")
    list_filter = ("account",)
    ordering = ("-closing_date", "-pk")
    inlines = (StatementLines,)


class WorkForm(forms.Form):
    """What a line is, in one person's judgement, and how that is known."""

    what = forms.ChoiceField(label="It is")
    loan = forms.ModelChoiceField(queryset=Loan.objects.none(), required=False, label="Loan that was paid")
    entry = forms.ModelChoiceField(queryset=Entry.objects.none(), required=False, label="Entry in the books")
    reason = forms.CharField(max_length=400, label="How it is known")

    def __init__(self, *args: Any, line: BankLine, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        booked = line.state != BankLine.State.OPEN
        entries = [] if booked else bank_lines.candidates(line)
        choices = [("loan", "a client's payment of a loan")] if line.amount > 0 else []
        if not booked:
            choices += [("tie", "in the books already")] if entries else []
            choices += [("charge", "a charge of the bank")] if line.amount < 0 else []
            choices += [("not_ours", "none of our business")]
        what, loan, entry = (self.fields[name] for name in ("what", "loan", "entry"))
        what.choices = choices  # type: ignore[attr-defined]
        loan.queryset = bank_lines.loans_for(line)  # type: ignore[attr-defined]
        loan.label_from_instance = lambda row: f"{row.client}: {row}"  # type: ignore[attr-defined]
        entry.queryset = Entry.objects.filter(pk__in=[row.pk for row in entries])  # type: ignore[attr-defined]
        entry.label_from_instance = lambda row: f"{row.effective_at:%d %b %H:%M} {row}"  # type: ignore[attr-defined]
        if line.amount < 0:
            del self.fields["loan"]
        if not entries:
            del self.fields["entry"]


@admin.register(BankLine)
class BankLineAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("booked_date", "account", "amount", "payer", "ref", "text", "state", "decided_at")
    list_filter = ("state", "account")
    search_fields = ("ref", "end_to_end", "payer", "text")
    ordering = ("-booked_date", "-pk")
    change_form_template = "admin/bank_line.html"
    fields = (
        "account", "statement", "amount", "booked_date", "value_date", "payer", "text", "ref", "end_to_end", "state",
        "entry", "reason", "maker", "checker", "decided_at",
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the button before those of the table."""
        guard = self.admin_site.admin_view
        return [path("<int:pk>/work/", guard(self.work), name="lending_bankline_work"), *super().get_urls()]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> BankLine | None:
        """Return a line with all that its page names."""
        named = ("account__asset", "asset", "statement__account", "entry", "maker", "checker")
        rows = self.get_queryset(request).select_related(*named)
        return rows.filter(pk=key_of(object_id)).first()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a line, and while nothing accounts for it the form with which a person does."""
        line, extras = self.get_object(request, object_id), {}
        if line is not None:
            now = staff.now(request)
            unclaimed = bank_lines.unclaimed(line)
            asked = bank_lines.waiting(line, now=now)
            works = bool(roles(request) & bank_lines.WORKERS) and asked is None
            typed = (extra_context or {}).get("typed")
            extras = {
                "line": line,
                "now": now,
                "asked": asked,
                "open": line.state == BankLine.State.OPEN or unclaimed,
                "unclaimed": unclaimed,
                "two": bank_lines.needs_two(line),
            }
            if works and extras["open"]:
                extras["form"] = WorkForm(typed, line=line)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def work(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Account for a line as the reader judges it."""
        if not roles(request) & self.seen_by:
            raise PermissionDenied
        rows = self.get_queryset(request).select_related("account__asset", "asset")
        refusals = (bank_lines.UnableToAccount, matching.UnableToMatch)
        again = acts.on_its_page(self.change_view)
        return acts.perform(request, rows, pk, _work, refusals=refusals, again=again)


def _work(request: HttpRequest, line: BankLine, now: datetime) -> str:
    maker: Any = request.user
    access.require_role(maker, *bank_lines.WORKERS)
    form = WorkForm(request.POST, line=line)
    if not form.is_valid():
        raise bank_lines.UnableToAccount(first_error(form))
    said = form.cleaned_data
    chosen: dict[str, tuple[str, Callable[..., Any], tuple[Any, ...]]] = {
        "loan": ("choose the loan that was paid", bank_lines.assign, (said.get("loan"),)),
        "tie": ("choose the entry that it is", bank_lines.tie, (said.get("entry"),)),
        "charge": ("", bank_lines.charge, ()),
        "not_ours": ("", bank_lines.not_ours, ()),
    }
    missing, act, subject = chosen[said["what"]]
    if None in subject:
        raise bank_lines.UnableToAccount(missing)
    if act(line, *subject, reason=said["reason"], maker=maker, now=now) is None:
        return "Accounted for."
    return "Asked: above your limit it waits on the page Approvals for a second person of risk."


_site: Any = admin.site
_site.add_page(Page("bank/", "lending_bank", bank, SEE_BOOKS, "lending", title="Bank"))
