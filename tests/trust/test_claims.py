"""What users reported to other systems does not occur here, and would be found if it did."""

import dataclasses

import pytest

from progress.importers import envelope_lines
from tests.mutants import broken_folds
from tests.support.postgres_servers import Server
from tests.trust import __main__ as program
from tests.trust import claims
from tests.trust.__main__ import Result
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


def test_a_claim_fails_if_its_check_finds_something_else_or_cannot_fail() -> None:
    claim, right = CLAIMS[0], Finding(CLAIMS[0].right, [])
    planted = Finding(claim.reported, ["a difference"])
    assert Result(claim, [right], planted).problems == []
    for here, fault in (
        (Finding(claim.reported, []), planted),
        (Finding(claim.right, ["a difference"]), planted),
        (right, Finding(claim.right, ["a difference"])),
        (right, Finding(claim.reported, [])),
    ):
        assert len(Result(claim, [right, here], fault).problems) == 1


def test_each_claim_has_a_fault_whose_text_is_in_the_sql() -> None:
    assert all(claim.fault for claim in CLAIMS)
    assert sum(len(claim.fault) for claim in CLAIMS) == len(claims.load_faults())
    for claim in CLAIMS:
        with broken_folds.broken_sql(*claim.fault):
            pass


@pytest.mark.parametrize("claim", LOGS, ids=lambda claim: claim.name)
def test_the_program_prints_a_log_whose_events_ingest_accepts(
    claim: Claim, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claim.log
    assert program.main(["--log", claim.name]) == 0
    lines = capsys.readouterr().out.encode().splitlines()
    assert len(lines) == len({event["event_id"] for event in claim.log()})
    assert [line.reason for line in envelope_lines.check(lines, claim.now) if line.reason] == []


@pytest.mark.exhaustive
def test_the_program_fails_if_a_claim_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = dataclasses.replace(CLAIMS[3], right=CLAIMS[3].reported)
    monkeypatch.setattr(program, "CLAIMS", (CLAIMS[2], wrong))
    assert program.main(["--deliveries", "0"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("│ holds") == printed.count("│ fails") == 1
    assert f"{wrong.name}: found {CLAIMS[3].right!r}" in printed


@pytest.mark.exhaustive
def test_the_program_prints_each_claim_with_its_thread_and_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(["--deliveries", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("│ holds") == len(CLAIMS)
    for claim in CLAIMS:
        for text in (claim.title, claim.thread, claim.right, claim.reported):
            assert text in printed
