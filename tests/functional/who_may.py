"""
Who may pass which door: every page, button and table of the platform by role, asked one by one.

The cast belongs to Harbourside (alice, bob; managed by robin); charlie belongs to Quayside (managed by rita). A cell
is the answer for Harbourside's object, then for Quayside's, then for one that does not exist.
"""

WHO = ("nobody", "alice", "bob", "charlie", "robin", "olga", "rhea", "rolf", "dana", "dirk")

# Y: 200, r: sent on (302), x: 403, -: 404, ?: 422
SIGNS = {200: "Y", 302: "r", 403: "x", 404: "-", 422: "?"}

# fmt: off
PAGES = {
    #                                           nobody alice bob charlie robin olga rhea rolf dana dirk
    "/":                                        "r      r     r   r       r     r    r    r    r    r",
    "/healthz":                                 "Y      Y     Y   Y       Y     Y    Y    Y    Y    Y",
    "/sign-in/":                                "Y      r     r   r       r     r    r    r    r    r",
    "/portal/":                                 "r      Y     Y   Y       x     x    x    x    x    x",
    "/portal/notices/":                         "r      Y     Y   Y       x     x    x    x    x    x",
    "/portal/statements/":                      "r      Y     Y   Y       x     x    x    x    x    x",
    "/portal/tax-years/":                       "r      Y     Y   Y       x     x    x    x    x    x",
    "/console/":                                "r      x     x   x       x     x    Y    Y    x    x",
    "/console/rows/":                           "r      x     x   x       x     x    Y    Y    x    x",
    "/console/ticker/":                         "r      x     x   x       x     x    Y    Y    x    x",
    "/console/marks/":                          "r      x     x   x       x     x    Y    Y    x    x",
    "/console/marks/BTC/":                      "r      x     x   x       x     x    Y    Y    x    x",
    "/console/marks/BTC/history/":              "r      x     x   x       x     x    Y    Y    x    x",
    "/console/book/":                           "r      x     x   x       x     x    Y    Y    x    x",
    "/console/incidents/":                      "r      x     x   x       x     x    Y    Y    x    x",
    "/console/stream/":                         "x      x     x   x       x     x    Y    Y    x    x",
    "/admin/":                                  "r      r     r   r       Y     Y    Y    Y    Y    Y",
    "/admin/login/":                            "r      x     x   x       r     r    r    r    r    r",
    "/admin/book/":                             "r      r     r   r       Y     x    x    x    x    x",
    "/admin/pipeline/":                         "r      r     r   r       Y     Y    Y    Y    x    Y",
    "/admin/onboarding/new/":                   "r      r     r   r       Y     x    x    x    x    x",
    "/admin/onboarding/import/":                "r      r     r   r       Y     x    x    x    x    x",
    "/admin/agreements/":                       "r      r     r   r       Y     Y    Y    Y    x    Y",
    "/admin/close-to-a-call/":                  "r      r     r   r       Y     Y    Y    Y    x    Y",
    "/admin/statements/":                       "r      r     r   r       Y     Y    Y    Y    x    Y",
    "/admin/tax-years/":                        "r      r     r   r       Y     Y    Y    Y    x    Y",
    "/admin/bank/":                             "r      r     r   r       x     Y    Y    Y    x    Y",
    "/admin/general-ledger/":                   "r      r     r   r       x     Y    Y    Y    x    Y",
    "/admin/close/":                            "r      r     r   r       x     Y    Y    Y    x    Y",
    "/admin/takeovers/":                        "r      r     r   r       x     Y    Y    Y    x    Y",
    "/admin/lending/product/take-on/":          "r      r     r   r       x     x    Y    Y    x    Y",
    "/admin/pnl/":                              "r      r     r   r       x     x    x    Y    x    Y",
    "/admin/pnl/figures/":                      "r      r     r   r       x     x    x    Y    x    Y",
    "/admin/pnl/postings/?line=interest":       "r      r     r   r       x     x    x    Y    x    Y",
}
READ = {
    #                                           nobody alice bob charlie robin olga rhea rolf dana dirk
    "/portal/loans/{loan}/":                    "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/history/":            "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/activity/":           "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/payments/":           "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/what-if/":            "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/exchange/":            "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/calls/{call}/":                    "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/calls/{call}/transfers/":          "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/admin/book/{client}/people/":             "rrr    rrr   rrr rrr     Y--   xxx  xxx  xxx  xxx  xxx",
    "/admin/book/{client}/terms/":              "rrr    rrr   rrr rrr     Y--   xxx  xxx  xxx  xxx  xxx",
    "/admin/book/{client}/preview/":            "rrr    rrr   rrr rrr     Y--   xxx  xxx  xxx  xxx  xxx",
    "/admin/onboarding/{client}/":              "rrr    rrr   rrr rrr     Y--   YY-  YY-  YY-  xxx  YY-",
    "/admin/onboarding/{client}/documents/":    "rrr    rrr   rrr rrr     Y--   YY-  YY-  YY-  xxx  YY-",
    "/admin/onboarding/{client}/people/":       "rrr    rrr   rrr rrr     Y--   YY-  YY-  YY-  xxx  YY-",
    "/admin/onboarding/{client}/review/":       "rrr    rrr   rrr rrr     Y--   YY-  YY-  YY-  xxx  YY-",
    "/admin/onboarding/{client}/agreement/":    "rrr    rrr   rrr rrr     Y--   YY-  YY-  YY-  xxx  YY-",
    "/admin/releases/{loan_pk}/":               "rrr    rrr   rrr rrr     Y--   YY-  xxx  xxx  xxx  xxx",
    "/console/calls/{call}/":                   "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/calls/{call}/row/":               "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/calls/{call}/evidence/":          "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/accounts/{account}/":             "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/accounts/{account}/ltv/":          "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/calls/{call}/two-persons/":       "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/portal/calls/{call}/dispute/":            "rrr    Y--   Y-- -Y-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/console/calls/{call}/dispute/":           "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
    "/console/calls/{call}/waiver/":            "rrr    xxx   xxx xxx     xxx   xxx  YY-  YY-  xxx  xxx",
}
WRITE = {
    #                                           nobody alice bob charlie robin olga rhea rolf dana dirk
    "/portal/loans/{loan}/accept/":             "rrr    r--   r-- -r-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/exchange/ask/":       "rrr    ?--   x-- -?-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/exchange/call-off/":  "rrr    r--   x-- -r-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/decline/":            "rrr    r--   r-- -r-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/loans/{loan}/repay/":              "rrr    ?--   x-- -?-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/portal/calls/{call}/acknowledge/":        "rrr    r--   x-- -r-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/console/calls/{call}/claim/":             "rrr    xxx   xxx xxx     xxx   xxx  rr-  rr-  xxx  xxx",
    "/console/calls/{call}/take-over/":        "rrr    xxx   xxx xxx     xxx   xxx  rr-  rr-  xxx  xxx",
    "/console/calls/{call}/hand-back/":        "rrr    xxx   xxx xxx     xxx   xxx  rr-  rr-  xxx  xxx",
    "/console/calls/{call}/acknowledge/":      "rrr    xxx   xxx xxx     xxx   xxx  ??-  ??-  xxx  xxx",
    "/console/calls/{call}/notes/":            "rrr    xxx   xxx xxx     xxx   xxx  ??-  ??-  xxx  xxx",
    "/console/calls/{call}/two-keys/":          "rrr    xxx   xxx xxx     xxx   xxx  rr-  rr-  xxx  xxx",
    "/portal/calls/{call}/dispute/open/":       "rrr    ?--   x-- -?-     xxx   xxx  xxx  xxx  xxx  xxx",
    "/console/calls/{call}/dispute/answer/":    "rrr    xxx   xxx xxx     xxx   xxx  ??-  ??-  xxx  xxx",
    "/console/calls/{call}/waiver/ask/":        "rrr    xxx   xxx xxx     xxx   xxx  ??-  ??-  xxx  xxx",
    "/console/incidents/{incident}/acknowledge/": "rrr  xxx   xxx xxx     xxx   xxx  rr-  ??-  xxx  xxx",
    "/console/incidents/{incident}/handle/":   "rrr    xxx   xxx xxx     xxx   xxx  ??-  ??-  xxx  xxx",
}
# Buttons of the admin that stand for no table; a relationship manager presses them for the clients they manage.
PRESS = {
    #                                           nobody alice bob charlie robin olga rhea rolf dana dirk
    "/admin/funding/{loan_pk}/":                "rrr    rrr   rrr rrr     xxx   rr-  xxx  xxx  xxx  xxx",
    "/admin/releases/{loan_pk}/":               "rrr    rrr   rrr rrr     ?--   ??-  xxx  xxx  xxx  xxx",
    "/admin/addresses/{loan_pk}/":              "rrr    rrr   rrr rrr     ?--   ??-  xxx  xxx  xxx  xxx",
    "/admin/addresses/{loan_pk}/revoke/":       "rrr    rrr   rrr rrr     r--   rr-  xxx  xxx  xxx  xxx",
    "/admin/corrections/{loan_pk}/add/":        "rrr    rrr   rrr rrr     ?--   ??-  xxx  xxx  xxx  xxx",
    "/admin/corrections/{loan_pk}/take-back/":  "rrr    rrr   rrr rrr     ?--   ??-  xxx  xxx  xxx  xxx",
    "/admin/freezes/{loan_pk}/":                "rrr    rrr   rrr rrr     xxx   xxx  ??-  ??-  xxx  xxx",
    "/admin/freezes/{loan_pk}/lift/":           "rrr    rrr   rrr rrr     xxx   xxx  ??-  ??-  xxx  xxx",
}
# Tables of the admin: Y sees the table, - does not.
TABLES = {
    #                              robin olga rhea rolf dana dirk
    "lending.addresskey":           "- Y Y Y - Y",
    "lending.approval":             "Y Y Y Y - Y",
    "lending.asset":                "Y Y Y Y - Y",
    "lending.auditrecord":          "- Y Y Y - Y",
    "lending.bankaccount":          "- Y Y Y - Y",
    "lending.bankline":             "- Y Y Y - Y",
    "lending.bankstatement":        "- Y Y Y - Y",
    "lending.client":               "Y Y Y Y - Y",
    "lending.correction":           "Y Y Y Y - Y",
    "lending.custodianwebhook":     "- Y Y Y - Y",
    "lending.custodybreak":         "- Y Y Y - Y",
    "lending.deposit":              "Y Y Y Y - Y",
    "lending.entry":                "- Y Y Y - Y",
    "lending.ladderterms":          "Y Y Y Y - Y",
    "lending.ledgeraccount":        "- Y Y Y - Y",
    "lending.loan":                 "Y Y Y Y - Y",
    "lending.marginaccount":        "Y Y Y Y - Y",
    "lending.notice":               "Y Y Y Y - Y",
    "lending.period":               "- Y Y Y - Y",
    "lending.posting":              "- Y Y Y - Y",
    "lending.product":              "Y Y Y Y - Y",
    "lending.reconciliation":       "- Y Y Y - Y",
    **dict.fromkeys(("lending.sanctionsentry", "lending.sanctionslist", "lending.sanctionsversion"), "- - - - - -"),
    "lending.screeningmatch":       "- - - - - -",
    "lending.user":                 "- Y - Y - Y",
    "lending.withdrawal":           "Y Y Y Y - Y",
    "otc.block":                    "- - Y Y Y Y",
    "otc.dealer":                   "- - Y Y Y Y",
    "otc.fill":                     "- - Y Y Y Y",
    "otc.rfq":                      "- - Y Y Y Y",
    "otc.settlement":               "- - Y Y Y Y",
    "risk.assetoutage":             "Y Y Y Y - Y",
    "risk.assetpolicy":             "Y Y Y Y - Y",
    "risk.decisionlog":             "Y Y Y Y - Y",
    "risk.incident":                "Y Y Y Y - Y",
    "risk.liquidationorder":        "Y Y Y Y - Y",
    "risk.margincall":              "Y Y Y Y - Y",
    "risk.marginstatus":            "Y Y Y Y - Y",
    "risk.mark":                    "Y Y Y Y Y Y",
    "risk.pricesnapshot":           "Y Y Y Y - Y",
    "risk.rejectedticks":           "Y Y Y Y - Y",
    "risk.salecause":               "Y Y Y Y - Y",
    "risk.source":                  "Y Y Y Y - Y",
}
# fmt: on
