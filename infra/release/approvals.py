"""Check that a release to the given GitHub environments waits for an approval.

    GITHUB_TOKEN=... approvals.py staging production

Private repositories have required reviewers only with GitHub Enterprise. Without this rule, GitHub
starts a job of the environment immediately. The exit code is 1 if an environment has no reviewers.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 30.0


def has_reviewers(environment: str) -> bool:
    """Return whether the environment exists and has required reviewers; raise URLError."""
    api, repository = os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"]
    request = urllib.request.Request(  # noqa: S310 - GitHub's address
        f"{api}/repos/{repository}/environments/{environment}",
        headers={"authorization": f"Bearer {os.environ['GITHUB_TOKEN']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - see above
            rules = json.load(response).get("protection_rules", [])
    except urllib.error.HTTPError as error:
        if error.code == 404:  # the environment does not exist
            return False
        raise
    return any(rule["type"] == "required_reviewers" and rule["reviewers"] for rule in rules)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("environments", nargs="+")
    unguarded = [name for name in parser.parse_args().environments if not has_reviewers(name)]
    for name in unguarded:
        sys.stderr.write(
            f"The environment {name} has no required reviewers, so nobody would approve its "
            "releases. Add reviewers, or set the variable RELEASE_WITHOUT_APPROVAL to true "
            "(docs/releases.md).\n"
        )
    return 1 if unguarded else 0


if __name__ == "__main__":
    sys.exit(main())
