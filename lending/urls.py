"""Addresses of sign-in, of the borrower's pages, and of the door for the custodian's webhooks."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from lending.api import custodian
from lending.portal import addresses, amendments, lines, prepayments, sign_in, signatures, statements, views

urlpatterns = [
    path("hooks/custodian/", custodian.hook, name="custodian_hook"),
    path("", sign_in.front, name="front"),
    path("sign-in/", sign_in.SignInView.as_view(), name="sign_in"),
    path("sign-in/first/<uidb64>/<token>/", sign_in.FirstPasswordView.as_view(), name="first_password"),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("portal/", views.home, name="portal_home"),
    path("portal/statements/", statements.statement, name="portal_statement"),
    path("portal/tax-years/", statements.tax_year, name="portal_tax_year"),
    path("portal/signatures/", signatures.signatures, name="portal_signatures"),
    path("portal/signatures/<uuid:public_id>/sign/", signatures.sign, name="portal_signature_sign"),
    path("portal/signatures/<uuid:public_id>/withdraw/", signatures.withdraw, name="portal_signature_withdraw"),
    path("portal/notices/", views.notices, name="portal_notices"),
    path("portal/addresses/<uuid:public_id>/", addresses.addresses, name="portal_addresses"),
    path("portal/addresses/<uuid:public_id>/strike-off/", addresses.strike_off, name="portal_strike_off"),
    path("portal/loans/<uuid:public_id>/", views.loan, name="portal_loan"),
    path("portal/loans/<uuid:public_id>/payments/", views.payments, name="portal_payments"),
    path("portal/loans/<uuid:public_id>/prepayment/", prepayments.prepayment, name="portal_prepayment"),
    path("portal/loans/<uuid:public_id>/term-sheet/<int:version>/", views.term_sheet, name="portal_term_sheet"),
    path("portal/loans/<uuid:public_id>/accept/", views.accept, name="portal_accept"),
    path("portal/loans/<uuid:public_id>/decline/", views.decline, name="portal_decline"),
    path("portal/loans/<uuid:public_id>/repay/", views.repay, name="portal_repay"),
    path("portal/loans/<uuid:public_id>/rate/", views.rate, name="portal_rate"),
    path("portal/loans/<uuid:public_id>/line/", lines.line, name="portal_line"),
    path("portal/loans/<uuid:public_id>/line/<uuid:draw>/sign/", lines.sign, name="portal_sign_draw"),
    path("portal/loans/<uuid:public_id>/line/drop/", lines.drop, name="portal_drop_draw"),
    path("portal/loans/<uuid:public_id>/notice/", views.give_notice, name="portal_notice"),
    path("portal/amendments/<uuid:public_id>/", amendments.amendment, name="portal_amendment"),
    path("portal/amendments/<uuid:public_id>/sign/", amendments.sign, name="portal_amendment_sign"),
    path("portal/amendments/<uuid:public_id>/decline/", amendments.decline, name="portal_amendment_decline"),
]
