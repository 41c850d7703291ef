"""Which notices are due and in which words: storms, ends, hours, hostile text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from manifests.zone.notices import Notices
from sluice.notices.message import Sender, document, line, local_syslog, plain, syslog
from sluice.notices.plan import HOURLY, Notice, Subject, notices, pending
from tests.architecture.project import code_in, first_cells, section

NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SENDER = Sender("inside", "hq", "host name\n", 7)


def held(number: int, kind: str = "signature", since: datetime = NOON) -> Subject:
    return Subject(f"k{number}", kind, "hq", f"r{number}", since, "why", "what")


def test_one_notice_for_a_beginning_and_one_for_the_end() -> None:
    one, two = held(1), held(2)
    found = pending(Notices(), [one, two], {one.id: one, held(3).id: held(3)}, NOON)
    assert found.begun == (two,) and found.ended == (held(3),)
    assert [n.event for n in notices(found, [], NOON)] == ["begun", "ended"]
    again = held(1, since=NOON + MINUTE)
    found = pending(Notices(), [again], {one.id: one}, NOON + MINUTE)
    assert (found.begun, found.ended) == ((again,), (one,))


def test_what_may_pass_by_itself_must_last_and_kinds_can_be_chosen() -> None:
    waits = held(1, "incomplete")
    assert len(pending(Notices(), [waits], {}, NOON + 59 * MINUTE)) == 0
    assert len(pending(Notices(), [waits], {}, NOON + HOUR)) == 1
    chosen = Notices(kinds=frozenset({"fork"}))
    assert len(pending(chosen, [held(1), held(2, "fork")], {}, NOON)) == 1
    # What was told before still ends, whatever is chosen now.
    assert len(pending(chosen, [], {held(1).id: held(1)}, NOON).ended) == 1


def test_a_storm_is_one_digest_and_a_lasting_one_few() -> None:
    storm = [held(number) for number in range(1000)]
    told: dict[str, Subject] = {}
    sent: list[datetime] = []
    messages: list[Notice] = []
    now = NOON
    for minute in range(6 * 60):
        now = NOON + minute * MINUTE
        # Each minute other holds: as bad as it gets.
        current = storm if minute == 0 else [held(minute % 7, since=now)]
        found = pending(Notices(), current, told, now)
        for notice in notices(found, sent, now):
            messages.append(notice)
            sent.append(now)
            told.update((each.id, each) for each in notice.begun)
            for each in notice.ended:
                told.pop(each.id)
    assert messages[0].event == "digest" and len(messages[0].begun) == 1000
    assert line(messages[0], SENDER).count("1000 signature") == 1
    assert len(messages) <= 6 * (HOURLY + 6)
    assert len(document(messages[0], SENDER, NOON)) < 10_000
    while found := pending(Notices(), [], told, now):
        now += MINUTE
        for notice in notices(found, sent, now):
            sent.append(now)
            for each in notice.ended:
                told.pop(each.id)
    assert now - NOON < timedelta(hours=7)


HOSTILE = 'a"b\\c]d\r\n<0>1 - x é https://user:pass@host.example/p?token=geheim end'


def test_text_from_outside_stays_one_message_and_secrets_stay_here() -> None:
    subject = Subject('key"]', "refused", "hq", 'r"\\]\n', NOON, HOSTILE, "what to do")
    notice = Notice("begun", begun=(subject,))
    assert "pass" not in plain(HOSTILE) and "geheim" not in plain(HOSTILE)
    message = syslog(notice, SENDER, "local3", NOON).decode()
    match = re.fullmatch(
        r"<155>1 2031-05-01T12:00:00Z hostname sluice 7 begun "
        r'\[sluice@32473((?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")+)\] \ufeff([^\r\n]+)',
        message,
    )
    assert match is not None, message
    assert ' repository="r\\"\\\\\\]?"' in match[1] and "HELD" in match[2]
    local = local_syslog(notice, SENDER, "daemon", NOON).decode()
    assert re.match(
        r"<27>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d sluice\[7\]: inside zone hq: ", local
    )
    assert "\n" not in local
    value = json.loads(document(notice, SENDER, NOON))
    assert value["begun"][0]["reason"] == plain(HOSTILE) and value["version"] == 1
    assert len(line(Notice("begun", begun=(replace(held(1), reason="x" * 9000),)), SENDER)) < 1000


@pytest.mark.parametrize("when", [NOON, NOON + HOUR])
def test_an_attempt_keeps_its_number(when: datetime) -> None:
    first = Notice("digest", (held(1), held(2)))
    assert first.id == Notice("digest", (held(2), held(1))).id != Notice("digest", (held(1),)).id
    assert json.loads(document(first, SENDER, when))["id"] == first.id


def test_the_kinds_that_can_be_chosen_are_those_that_there_are() -> None:
    cells = first_cells(section("docs/operations.md", "## Holds"))
    documented = {word for cell in cells for word in code_in(cell)}
    assert Notices().kinds == documented | {"gap"}
