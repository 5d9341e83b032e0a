"""What users reported to other systems does not occur here, and would be found if it did."""

import pytest

from tests.mutants import broken_folds
from tests.support.postgres_servers import Server
from tests.trust import claims
from tests.trust.claims import CLAIMS, Claim, Finding

LOGS = [claim for claim in CLAIMS if claim.log]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_what_was_reported_does_not_occur_here(claim: Claim, postgres_server: Server) -> None:
    found = claims.check(claim, postgres_server)
    assert found.seen != claim.reported
    assert found == Finding(claim.right, [])


@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_check_fails_with_what_was_reported_if_it_is_planted(
    claim: Claim, postgres_server: Server
) -> None:
    found = claims.check(claim, postgres_server, is_planted=True)
    assert found.seen == claim.reported
    assert found.differences


@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", LOGS, ids=lambda claim: claim.name)
def test_a_claim_holds_however_its_log_is_delivered(claim: Claim, postgres_server: Server) -> None:
    for seed in range(20):
        assert claims.check(claim, postgres_server, seed=seed) == Finding(claim.right, [])


def test_each_claim_has_a_fault_whose_text_is_in_the_sql() -> None:
    assert all(claim.fault for claim in CLAIMS)
    assert sum(len(claim.fault) for claim in CLAIMS) == len(claims.load_faults())
    for claim in CLAIMS:
        with broken_folds.broken_sql(*claim.fault):
            pass
