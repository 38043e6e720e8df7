"""TLS clients refuse each wrong certificate of the daemon for its one reason, as docs/CERTIFICATES.md shows."""

from __future__ import annotations

import re

import pytest

from echod.tls.wrong_certificates import MAKERS
from tests.daemon import TOP
from tests.system_wide.certificate_errors import ACCEPTED, reports

pytestmark = [pytest.mark.needs_tools, pytest.mark.timeout(900)]  # it compiles clients, and runs each ten times

PAGE = (TOP / "docs" / "CERTIFICATES.md").read_text("utf-8")
REASONS = {
    "expired": "expired",
    "not-yet-valid": "not.?yet.?valid|notvalidyet|is before",
    "wrong-host": "host|name",
    "self-signed": "self.signed|unknown|unable to find|not trusted",
    "untrusted": "self.signed|unknown|unable to find|not trusted",
    "incomplete-chain": "unable to|unknown|not trusted",
    "revoked": "revoked",
    "weak-key": "too weak|signature",
    "wrong-purpose": "purpose|usage|eku",
    "huge-chain": "size|large|length|corrupt message",
}
"""Words that the messages of all clients have."""


def shown(word: str) -> dict[str, str]:
    """The messages of the page, by client."""
    part = PAGE.partition(f"### `{word}`\n")[2].partition("\n### ")[0]
    return dict(re.findall(r"(?m)^\| (\w+) \| `?(.*?)`? \|$", part))


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    found: dict[str, dict[str, str]] = {word: {} for word in MAKERS}
    for word, client, message in reports(tmp_path_factory.mktemp("clients")):
        found[word][client] = message
    return found


@pytest.mark.parametrize("word", MAKERS)
def test_each_client_reports_the_reason_that_the_page_shows(messages, word):
    page = shown(word)
    assert len(messages[word]) >= 4
    for client, message in messages[word].items():
        assert (message == ACCEPTED) == (page[client] == ACCEPTED), (client, message)
        for text in (message, page[client]):
            assert text == ACCEPTED or re.search(REASONS[word], text, re.IGNORECASE), (client, text)
