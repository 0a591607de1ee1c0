"""Addresses of a call's page in the portal, and of the console."""

from django.urls import include, path

from risk.console import accounts, assets, book, calls, disputes, incidents, queue, stream
from risk.portal import disputes as portal_disputes
from risk.portal import going_back, instructions, money, substitutions
from risk.portal import views as portal

_call = [
    path("", calls.call, name="console_call"),
    path("row/", queue.row, name="console_row"),
    path("evidence/", calls.evidence, name="console_evidence"),
    path("claim/", calls.claim, name="console_claim"),
    path("take-over/", calls.take_over, name="console_take_over"),
    path("hand-back/", calls.hand_back, name="console_hand_back"),
    path("acknowledge/", calls.acknowledge, name="console_spoken"),
    path("notes/", calls.note, name="console_note"),
    path("two-persons/", calls.two_persons, name="console_two_persons"),
    path("two-keys/", calls.ask_two_keys, name="console_two_keys"),
    path("dispute/", disputes.dispute, name="console_dispute"),
    path("dispute/answer/", disputes.answer, name="console_answer"),
    path("waiver/", disputes.waiver, name="console_waiver"),
    path("waiver/ask/", disputes.waive, name="console_waive"),
]

urlpatterns = [
    path("portal/loans/<uuid:public_id>/history/", portal.history, name="portal_history"),
    path("portal/loans/<uuid:public_id>/activity/", portal.all_activity, name="portal_activity"),
    path("portal/loans/<uuid:public_id>/what-if/", portal.what_if, name="portal_what_if"),
    path("portal/money/", money.overview, name="portal_money"),
    path("portal/money/ask/", money.ask, name="portal_ask_payout"),
    path("portal/money/<uuid:public_id>/take-back/", money.take_back, name="portal_take_back"),
    path("portal/loans/<uuid:public_id>/back/", going_back.going_back, name="portal_back"),
    path("portal/loans/<uuid:public_id>/exchange/", substitutions.substitute, name="portal_substitute"),
    path("portal/loans/<uuid:public_id>/exchange/ask/", substitutions.ask, name="portal_ask_substitute"),
    path("portal/loans/<uuid:public_id>/exchange/call-off/", substitutions.call_off, name="portal_call_off"),
    path("portal/loans/<uuid:public_id>/reserved/", instructions.reserved, name="portal_reserved"),
    path("portal/loans/<uuid:public_id>/reserved/give/", instructions.give, name="portal_give_instruction"),
    path(
        "portal/loans/<uuid:public_id>/reserved/take-back/", instructions.take_back, name="portal_take_back_instruction"
    ),
    path("portal/calls/<uuid:public_id>/", portal.call, name="portal_call"),
    path("portal/calls/<uuid:public_id>/transfers/", portal.transfers, name="portal_transfers"),
    path("portal/calls/<uuid:public_id>/acknowledge/", portal.acknowledge, name="portal_acknowledge"),
    path("portal/calls/<uuid:public_id>/dispute/", portal_disputes.dispute, name="portal_dispute"),
    path("portal/calls/<uuid:public_id>/dispute/open/", portal_disputes.open_dispute, name="portal_open_dispute"),
    path("console/", queue.queue, name="console_queue"),
    path("console/rows/", queue.rows, name="console_rows"),
    path("console/stream/", stream.stream, name="console_stream"),
    path("console/calls/<uuid:public_id>/", include(_call)),
    path("console/accounts/<uuid:public_id>/", accounts.account, name="console_account"),
    path("console/accounts/<uuid:public_id>/ltv/", accounts.ltv_history, name="console_ltv"),
    path("console/book/", book.book, name="console_book"),
    path("console/ticker/", assets.ticker, name="console_ticker"),
    path("console/marks/", assets.marks, name="console_marks"),
    path("console/marks/<str:code>/", assets.asset, name="console_asset"),
    path("console/marks/<str:code>/history/", assets.mark_history, name="console_mark"),
    path("console/incidents/", incidents.incidents, name="console_incidents"),
    path("console/incidents/<uuid:public_id>/acknowledge/", incidents.acknowledge, name="console_acknowledge"),
    path("console/incidents/<uuid:public_id>/handle/", incidents.handle, name="console_handle"),
]
