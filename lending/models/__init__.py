"""The books: clients, loans, collateral, the ledger, and the shared kernel."""

from lending.models.agreements import AgreementVersion, SignedAgreement
from lending.models.amendments import (
    AGREED_AMENDMENTS,
    AMENDMENT_TRANSITIONS,
    UNSIGNED_AMENDMENTS,
    Amendment,
    RateStep,
)
from lending.models.assets import Asset, AssetNetwork, Pair
from lending.models.authority import JointSignature
from lending.models.bank import BankAccount, BankLine, BankStatement
from lending.models.benchmarks import Benchmark, Fixing
from lending.models.capitalisations import Capitalisation
from lending.models.clients import Client, ClientUser, RelationshipPeriod
from lending.models.clock import PlatformClock
from lending.models.control import Approval, AuditRecord, AuditSeal
from lending.models.corrections import Correction, SplitChange
from lending.models.custody import (
    AddressKey,
    CustodianWebhook,
    CustodyBreak,
    CustodyReading,
    Deposit,
    DepositAddress,
    Reconciliation,
    ReconciliationLine,
    Withdrawal,
    WithdrawalAddress,
)
from lending.models.draws import Draw
from lending.models.eligibility import EligibilityRule
from lending.models.general_ledger import GlCode
from lending.models.kyc import (
    CaseFact,
    ChecklistItem,
    Document,
    KycCase,
    RelatedParty,
    SigningRule,
    StoredFile,
)
from lending.models.ledger import Book, Entry, LedgerAccount, LedgerBalance, Posting, Seal
from lending.models.loans import (
    LOAN_TRANSITIONS,
    LOSS_OPEN,
    LOSS_TAKEN,
    DayCount,
    Loan,
    LoanEvent,
    LoanState,
    LoanTransition,
    Product,
    ProductHaircut,
    Repayment,
)
from lending.models.margin_accounts import (
    Freeze,
    LadderTerms,
    MarginAccount,
    Perfection,
    Pledge,
    PledgeForm,
    PledgeMovement,
    PledgeTerms,
)
from lending.models.messages import Event, EventStream, Notice, NoticeDelivery, OutboxMessage
from lending.models.obligations import (
    AMENDED_TRANSITIONS,
    CORRECTED_TRANSITIONS,
    OBLIGATION_TRANSITIONS,
    OPEN_OBLIGATIONS,
    WHOLE,
    Obligation,
)
from lending.models.overdue import Overdue
from lending.models.parallel import ParallelDifference, ParallelNote, ParallelRun
from lending.models.periods import Period, PeriodState, PeriodStep
from lending.models.reserves import StandingInstruction
from lending.models.sanctions import (
    SanctionsEntry,
    SanctionsFile,
    SanctionsList,
    SanctionsName,
    SanctionsUpload,
    SanctionsVersion,
)
from lending.models.schedules import Calendar, Frequency, Prepayment, ScheduleKind, ScheduleRow, Tenor
from lending.models.screening import Screening, ScreeningMatch, ScreeningRule
from lending.models.takeovers import LoanOrigin, Takeover
from lending.models.term_sheets import TermSheet, TermSheetAcceptance
from lending.models.users import Role, RoleGrant, User

__all__ = [
    "AGREED_AMENDMENTS",
    "AMENDED_TRANSITIONS",
    "AMENDMENT_TRANSITIONS",
    "CORRECTED_TRANSITIONS",
    "LOAN_TRANSITIONS",
    "LOSS_OPEN",
    "LOSS_TAKEN",
    "OBLIGATION_TRANSITIONS",
    "OPEN_OBLIGATIONS",
    "UNSIGNED_AMENDMENTS",
    "WHOLE",
    "AddressKey",
    "AgreementVersion",
    "Amendment",
    "Approval",
    "Asset",
    "AssetNetwork",
    "AuditRecord",
    "AuditSeal",
    "BankAccount",
    "BankLine",
    "BankStatement",
    "Benchmark",
    "Book",
    "Calendar",
    "Capitalisation",
    "CaseFact",
    "ChecklistItem",
    "Client",
    "ClientUser",
    "Correction",
    "CustodianWebhook",
    "CustodyBreak",
    "CustodyReading",
    "DayCount",
    "Deposit",
    "DepositAddress",
    "Document",
    "Draw",
    "EligibilityRule",
    "Entry",
    "Event",
    "EventStream",
    "Fixing",
    "Freeze",
    "Frequency",
    "GlCode",
    "JointSignature",
    "KycCase",
    "LadderTerms",
    "LedgerAccount",
    "LedgerBalance",
    "Loan",
    "LoanEvent",
    "LoanOrigin",
    "LoanState",
    "LoanTransition",
    "MarginAccount",
    "Notice",
    "NoticeDelivery",
    "Obligation",
    "OutboxMessage",
    "Overdue",
    "Pair",
    "ParallelDifference",
    "ParallelNote",
    "ParallelRun",
    "Perfection",
    "Period",
    "PeriodState",
    "PeriodStep",
    "PlatformClock",
    "Pledge",
    "PledgeForm",
    "PledgeMovement",
    "PledgeTerms",
    "Posting",
    "Prepayment",
    "Product",
    "ProductHaircut",
    "RateStep",
    "Reconciliation",
    "ReconciliationLine",
    "RelatedParty",
    "RelationshipPeriod",
    "Repayment",
    "Role",
    "RoleGrant",
    "SanctionsEntry",
    "SanctionsFile",
    "SanctionsList",
    "SanctionsName",
    "SanctionsUpload",
    "SanctionsVersion",
    "ScheduleKind",
    "ScheduleRow",
    "Screening",
    "ScreeningMatch",
    "ScreeningRule",
    "Seal",
    "SignedAgreement",
    "SigningRule",
    "SplitChange",
    "StandingInstruction",
    "StoredFile",
    "Takeover",
    "Tenor",
    "TermSheet",
    "TermSheetAcceptance",
    "User",
    "Withdrawal",
    "WithdrawalAddress",
]
