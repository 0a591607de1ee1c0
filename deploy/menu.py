"""The admin's menu, by what a person does; who may not open a page does not see its line."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest

from lending.staff import Link

GROUPS = (
    (
        "Today",
        (
            Link("index", "Home", "home"),
            Link("risk_book", "Book a loan", "add_circle"),
            Link("otc_pnl", "P&L", "monitoring"),
            Link("otc_figures", "Key figures", "trending_up"),
            Link("risk_closest", "Closest to a call", "warning"),
        ),
    ),
    (
        "Clients and loans",
        (
            Link("lending_pipeline", "Pipeline", "view_kanban"),
            Link("lending_client_changelist", "Clients", "groups"),
            Link("lending_loan_changelist", "Loans", "request_quote"),
            Link("lending_amendment_changelist", "Amendments", "edit_document"),
            Link("lending_marginaccount_changelist", "Margin accounts", "account_balance_wallet"),
            Link("lending_takeovers", "Take loans over", "move_to_inbox"),
            Link("lending_parallel", "Parallel run", "compare_arrows"),
            Link("lending_approval_changelist", "Approvals", "task_alt"),
            Link("lending_jointsignature_changelist", "Joint signatures", "signature"),
            Link("lending_notice_changelist", "Notices", "mail"),
            Link("lending_statements", "Statements", "receipt_long"),
            Link("lending_tax_years", "Tax years", "calendar_today"),
        ),
    ),
    (
        "Compliance",
        (
            Link("lending_eligibility", "Eligibility", "fact_check"),
            Link("lending_checklists", "Checklists", "checklist"),
            Link("lending_screeningmatch_changelist", "Screening matches", "gpp_maybe"),
            Link("lending_sanctionslist_changelist", "Sanctions lists", "policy"),
            Link("lending_sanctionsentry_changelist", "List entries", "person_search"),
        ),
    ),
    (
        "Margin",
        (
            Link("risk_margincall_changelist", "Margin calls", "notifications_active"),
            Link("risk_marginstatus_changelist", "Margin states", "speed"),
            Link("risk_conditional_credit", "Conditional credit", "hourglass_top"),
            Link("risk_salecause_changelist", "Reasons to sell", "gavel"),
            Link("risk_liquidationorder_changelist", "Liquidation orders", "sell"),
            Link("risk_incident_changelist", "Incidents", "report"),
            Link("risk_decisionlog_changelist", "Decisions", "rule"),
        ),
    ),
    (
        "Trading",
        (
            Link("otc_block_changelist", "Blocks", "view_module"),
            Link("otc_rfq_changelist", "RFQs", "campaign"),
            Link("otc_fill_changelist", "Fills", "done_all"),
            Link("otc_settlement_changelist", "Settlements", "handshake"),
            Link("otc_dealer_changelist", "Dealers", "storefront"),
        ),
    ),
    (
        "Prices",
        (
            Link("risk_mark_changelist", "Marks", "sell"),
            Link("risk_source_changelist", "Sources", "hub"),
            Link("risk_assetpolicy_changelist", "Price policies", "tune"),
            Link("risk_assetoutage_changelist", "Outages", "signal_disconnected"),
            Link("risk_rejectedticks_changelist", "Refused ticks", "block"),
            Link("risk_pricesnapshot_changelist", "Snapshots", "photo_camera"),
        ),
    ),
    (
        "Custody and bank",
        (
            Link("lending_deposit_changelist", "Deposits", "south_west"),
            Link("lending_withdrawal_changelist", "Withdrawals", "north_east"),
            Link("lending_custodybreak_changelist", "Breaks", "difference"),
            Link("lending_reconciliation_changelist", "Reconciliations", "balance"),
            Link("lending_custodianwebhook_changelist", "Webhooks", "webhook"),
            Link("lending_addresskey_changelist", "Address keys", "key"),
            Link("lending_bank", "Bank", "account_balance"),
            Link("lending_bankline_changelist", "Bank lines", "receipt_long"),
            Link("lending_bankstatement_changelist", "Bank statements", "description"),
            Link("lending_bankaccount_changelist", "Bank accounts", "savings"),
        ),
    ),
    (
        "Books",
        (
            Link("lending_close", "Month-end close", "lock_clock"),
            Link("lending_general_ledger", "General ledger", "account_tree"),
            Link("lending_entry_changelist", "Entries", "menu_book"),
            Link("lending_posting_changelist", "Postings", "list_alt"),
            Link("lending_ledgeraccount_changelist", "Ledger accounts", "account_balance"),
            Link("lending_correction_changelist", "Corrections", "edit_calendar"),
            Link("lending_auditrecord_changelist", "Audit trail", "history"),
        ),
    ),
    (
        "Set-up",
        (
            Link("lending_product_changelist", "Products", "inventory_2"),
            Link("lending_benchmarks", "Benchmarks", "show_chart"),
            Link("lending_agreements", "Master agreement", "contract"),
            Link("lending_ladderterms_changelist", "Ladders", "stairs"),
            Link("lending_asset_changelist", "Assets", "toll"),
            Link("lending_user_changelist", "People", "badge"),
        ),
    ),
)


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the menu as its reader sees it."""
    site: Any = admin.site
    shown: list[dict[str, Any]] = site.menu(request, GROUPS)
    return shown


def environment(request: HttpRequest) -> tuple[str, str] | None:
    """Return what the frame says of this installation; nothing where its setting is empty."""
    return (settings.PLIMSOLL_ENVIRONMENT, "warning") if settings.PLIMSOLL_ENVIRONMENT else None
