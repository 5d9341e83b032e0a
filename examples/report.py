"""Mail a class's last week to its teacher: python examples/report.py GROUP en|ja

A cron job runs it on Mondays, when it is Monday in UTC, with a token of the teacher from your app:

    0 10 * * 1  . /etc/app/report.env && python3 /opt/app/report.py class-1 ja

Without SMTP_HOST, it prints the mail. An app with a mailer of its own calls `send_report` with it;
the mailer adds the addresses, because Progress has none. A class has at most 50 members.
"""

import os
import smtplib
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html import escape
from typing import Any

import requests

QUERY = """query ($group: ID!, $weekAgo: DateTime!) {
  group(groupId: $group) {
    name id: groupId weeks { start active: activeMembers answers accuracyRate }
    hardestItems { name: headword id: itemId accuracyRate }
    tasks(first: 20) { edges { node { name: listName id: listId dueOn done
      members { edges { node { name: displayName id: userId items known } } } } } }
  }
  learners(groupId: $group) { edges { node { name: displayName id: userId days: currentStreak
    weeks { answers accuracyRate } } } }
  weekAgo: learners(groupId: $group, asOf: $weekAgo) {
    edges { node { name: displayName id: userId days: currentStreak } } }
}"""
ENGLISH = {
    "week": "{name}, week {last[start]} ({prior[start]}): {last[active]} ({prior[active]}) studied",
    "answers": "{name}: {last[answers]} ({prior[answers]}) answers, {right} ({earlier}) right",
    "streaks": "Streaks that ended in the last seven days, and how many days they had",
    "items": "The hardest words so far, and the share of right answers",
    "task": "{name}, until {dueOn}: done by {done}; the others have learned",
}
JAPANESE = {
    "week": "{name} {last[start]}（{prior[start]}）の週の学習者：{last[active]}（{prior[active]}）",
    "answers": "{name}：{last[answers]}（{prior[answers]}）回答、正答率{right}（{earlier}）",
    "streaks": "この一週間に途切れた連続学習とその日数",
    "items": "これまでの最も難しい単語と正答率",
    "task": "{name}、{dueOn}まで：{done}人が完了、ほかの人が習得した語数",
}


def send_report(group: str, language: str, mailer: Callable[[EmailMessage], object]) -> None:
    """Hand the report to the mailer, as plain text and HTML; exit if the API refuses it."""
    now = datetime.now(UTC)
    variables = {"group": group, "weekAgo": (now - timedelta(7)).isoformat()}
    body: dict[str, Any] = {"query": QUERY, "variables": variables}
    headers = {"Authorization": f"Bearer {os.environ['TEACHER_TOKEN']}"}
    result = requests.post(os.environ["QUERY_URL"], json=body, headers=headers, timeout=30).json()
    if "errors" in result or not result["data"]["group"]:
        raise SystemExit(f"{group}: {result.get('errors', 'no members')}")
    lines = write(result["data"], JAPANESE if language == "ja" else ENGLISH, now)
    html = "<br>".join(map(escape, lines))
    mail = EmailMessage()
    mail["Subject"] = lines[0]
    mail.set_content("\n".join(lines))
    mail.add_alternative(f'<html lang="{language}">{html}</html>', subtype="html")
    mailer(mail)


def write(data: dict[str, Any], texts: dict[str, str], now: datetime) -> list[str]:
    """Return the lines of the mail; the last ones are the tasks of the next seven days."""
    group, learners, then = data["group"], nodes(data["learners"]), nodes(data["weekAgo"])
    days = {row["id"]: row["days"] for row in learners}
    ended = [row for row in then if row["days"] > days.get(row["id"], row["days"])]
    lines = part(fill(texts["week"], group), texts["answers"], [group, *learners])
    lines += part(texts["streaks"], "{name}: {days}", ended)
    lines += part(texts["items"], "{name}: {right}", group["hardestItems"])
    for task in reversed(nodes(group["tasks"])):
        if f"{now:%F}" <= task["dueOn"] < f"{now + timedelta(7):%F}":
            rows = nodes(task["members"])  # `known` is null in lists of over 2,000 items
            lacking = [row for row in rows if row["known"] not in (None, row["items"])]
            lines += part(fill(texts["task"], task), "{name}: {known}/{items}", lacking)
    return lines


def nodes(connection: dict[str, Any]) -> list[dict[str, Any]]:
    return [edge["node"] for edge in connection["edges"]]


def part(head: str, text: str, rows: list[dict[str, Any]]) -> list[str]:
    return [head, *(f"- {fill(text, row)}" for row in rows), ""]


def fill(text: str, row: dict[str, Any]) -> str:
    """Fill in what the API says; of the weeks, the newest has only begun."""
    prior, last = row.get("weeks", [row] * 3)[-3:-1]
    rates = [week.get("accuracyRate") for week in (last, prior)]
    right, earlier = ("–" if rate is None else f"{rate:.0%}" for rate in rates)
    shown = {key: "–" if value is None else value for key, value in row.items()}
    shown["name"] = " ".join((row["name"] or row["id"]).split())
    return text.format(**shown, last=last, prior=prior, right=right, earlier=earlier)


def show(mail: EmailMessage) -> None:
    print(*(part.get_content() for part in mail.iter_parts()), sep="\n")


def send(mail: EmailMessage) -> None:
    mail["From"], mail["To"] = os.environ["MAIL_FROM"], os.environ["MAIL_TO"]
    context = ssl.create_default_context()
    with smtplib.SMTP_SSL(os.environ["SMTP_HOST"], timeout=30, context=context) as server:
        server.login(os.environ["SMTP_USER"], os.environ["SMTP_PASSWORD"])
        server.send_message(mail)


if __name__ == "__main__":
    send_report(sys.argv[1], sys.argv[2], send if "SMTP_HOST" in os.environ else show)
