"""Who may do what on the staff page: one table, route by role. A route without a line is served to nobody. Pure."""

from client.staff.roles import Role

_V, _T, _R, _A, _S = Role.VIEWER, Role.TECHNICIAN, Role.RADIOLOGIST, Role.ADMINISTRATOR, Role.SETUP

_PEOPLE = frozenset({_V, _T, _R, _A})
_ALL = _PEOPLE | {_S}
_FINDINGS = frozenset({_V, _T, _R, _S})
"""Not the administrator: who runs the machine has no business with what patients have."""
_SORTERS = frozenset({_T, _A, _S})
_DOCTORS = frozenset({_R})
_ACCOUNTS = frozenset({_A, _S})

OPEN = frozenset(
    {
        ("GET", "/health"), ("GET", "/login"), ("POST", "/login"), ("GET", "/login/oidc"), ("GET", "/login/oidc/callback"),
    }
)  # fmt: skip
"""Served without a session."""

MATRIX: dict[tuple[str, str], frozenset[Role]] = {
    ("GET", "/"): _ALL,
    ("POST", "/logout"): _ALL,
    ("GET", "/password"): _PEOPLE,
    ("POST", "/password"): _PEOPLE,
    # Findings.
    ("GET", "/studies"): _FINDINGS,
    ("GET", "/studies/{study_key}"): _FINDINGS,
    ("GET", "/studies/{study_key}/picture.png"): _FINDINGS,
    ("POST", "/studies/{study_key}/remeasure"): frozenset({_T, _R, _S}),
    ("POST", "/studies/{study_key}/context"): frozenset({_T, _R, _S}),
    ("POST", "/studies/{study_key}/delete"): _DOCTORS,
    # Quarantine.
    ("GET", "/quarantine"): _SORTERS | {_R},
    ("POST", "/quarantine/retry"): _SORTERS,
    ("POST", "/quarantine/discard"): _SORTERS,
    # Labels: a person of medicine decides what counts as truth, and a person must be the one who decides.
    ("GET", "/labels"): _FINDINGS,
    ("POST", "/labels/drafts/{sha256}/approve"): _DOCTORS,
    ("POST", "/labels/drafts/{sha256}/discard"): _DOCTORS,
    ("POST", "/labels/{study_key}/hold-out"): _DOCTORS,
    ("POST", "/labels/{study_key}/take-in"): _DOCTORS,
    ("POST", "/labels/{study_key}/withdraw"): _DOCTORS,
    # Training and reading.
    ("GET", "/ledger"): _ALL,
    ("GET", "/reads"): frozenset({_R, _S}),
    ("GET", "/reads/{request_id}"): frozenset({_R, _S}),
    ("POST", "/studies/{study_key}/read"): frozenset({_R, _S}),
    ("POST", "/reads/{request_id}/answer"): _DOCTORS,
    ("POST", "/reads/{request_id}/note"): _DOCTORS,
    ("POST", "/reads/{request_id}/acknowledge"): _DOCTORS,
    ("POST", "/reads/{request_id}/repost"): frozenset({_R, _S}),
    ("POST", "/reads/{request_id}/withdraw"): frozenset({_R, _S}),
    ("POST", "/reads/{request_id}/send"): frozenset({_R, _S}),
    ("POST", "/privileges"): frozenset({_R, _S}),
    ("POST", "/privileges/withdraw"): frozenset({_R, _S}),
    ("POST", "/readers"): frozenset({_R, _S}),
    ("POST", "/readers/revoke"): frozenset({_R, _S}),
    ("GET", "/network"): frozenset({_A, _S}),
    ("POST", "/network/send"): frozenset({_A, _S}),
    ("POST", "/network/pull"): frozenset({_A, _S}),
    # Policy: the token stands for no person, so it can be neither of the two.
    ("GET", "/policy"): frozenset({_R, _A, _S}),
    ("GET", "/policy/edit"): frozenset({_A}),
    ("POST", "/policy"): frozenset({_A}),
    ("POST", "/policy/{proposal_id}/confirm"): frozenset({_R, _A}),
    ("POST", "/policy/{proposal_id}/reject"): frozenset({_R, _A}),
    # Accounts.
    ("GET", "/staff"): _ACCOUNTS,
    ("POST", "/staff"): _ACCOUNTS,
    ("POST", "/staff/{account_id}/roles"): _ACCOUNTS,
    ("POST", "/staff/{account_id}/password"): _ACCOUNTS,
    ("POST", "/staff/{account_id}/disable"): _ACCOUNTS,
    ("POST", "/staff/{account_id}/enable"): _ACCOUNTS,
}
"""By method and route: the roles to which it is served. A person with several roles may do what any of them may."""


def may(roles: frozenset[Role], method: str, route: str) -> bool:
    """Say whether somebody with these roles is served."""
    return bool(roles & MATRIX.get((method, route), frozenset()))
