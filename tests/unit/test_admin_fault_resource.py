"""The resource of faults: the body of a change, and the responses."""

import json
import re

import pytest

from echod.admin.fault_resource import FaultChange, change_of, fault_handlers
from echod.http.messages import Request
from echod.model import Peer
from echod.socket_names import UnixName


class Faults:
    def __init__(self, errors=()):
        self.errors, self.changes = errors, []

    def gather(self, done):
        done()

    def described(self):
        return {"service": "echo"}

    def change(self, change, done):
        self.changes.append(change)
        done(self.errors)


def ask(faults, method, body=b""):
    answers = []
    peer = Peer("unix", UnixName("/run/admin"), UnixName(""), user=0)
    request = Request(method, "/api/faults/echo", {}, {}, body, peer)
    handlers = fault_handlers(faults)
    assert handlers is not None
    handlers[method](request, answers.append)
    [answer] = answers
    return answer.status, json.loads(answer.body)


def test_a_service_that_does_not_exist_has_no_resource():
    assert fault_handlers(None) is None


def test_faults_are_read_and_changed():
    faults = Faults()
    assert ask(faults, "GET") == (200, {"service": "echo"})
    body = b'{"set": {"drop": 0.5}, "clear": true, "script": "[[step]]"}'
    assert ask(faults, "POST", body) == (200, {"service": "echo"})
    assert faults.changes == [FaultChange({"drop": 0.5}, True, "[[step]]")]


def test_every_error_is_in_the_response():
    assert ask(Faults(["a", "b"]), "POST", b"{}") == (422, {"errors": ["a", "b"]})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "expected a JSON object such as "),
        (b"[1]", "expected a JSON object such as "),
        (b"\xff", "expected a JSON object such as "),
        (b"[" * 60_000, "expected a JSON object such as "),
        (b'{"drop": 1}', "unknown member; expected set, clear or script"),
        (b'{"set": []}', "set must be an object"),
        (b'{"clear": 1}', "clear must be true or false"),
        (b'{"script": null}', "script must be a text"),
    ],
    ids=range(8),
)
def test_a_wrong_body_gets_one_line(body, text):
    with pytest.raises(ValueError, match="^" + re.escape(text)):
        change_of(body)
    faults = Faults()
    assert ask(faults, "POST", body)[0] == 400
    assert not faults.changes
