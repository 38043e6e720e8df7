"""`echoctl events`: prints the recent events of the running daemon, and with `--follow` each new one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any, Final
from urllib.parse import urlencode

from echod.client.admin import (
    LARGEST,
    Administrator,
    RequestRefused,
    Unanswered,
    find_admin,
    parsing_response,
)
from echod.client.stdout import colored, fail, put_text
from echod.escaping import counted, escaped

CONTENT_TYPE: Final = "text/event-stream"
COLORS: Final[Mapping[str, str]] = {"error": "\x1b[31m", "warn": "\x1b[33m"}
NO_COLOR: Final = "\x1b[0m"


def run(arguments: argparse.Namespace) -> int:
    """Print until the stream ends and return 0, or report the error and return 1."""
    paints = colored(arguments.color)
    kept: list[Any] = []
    dropped = size = 0
    try:
        address = find_admin(arguments)
        with Administrator(address) as administrator:
            response = administrator.open(f"/api/events?{query(arguments)}")
            if arguments.follow:
                administrator.remove_deadline()
            with parsing_response(address):
                if response.status != 200:
                    raise RequestRefused(response.status, json.loads(response.read(LARGEST)))
                if response.headers.get_content_type() != CONTENT_TYPE:
                    raise ValueError("not a stream of events")
                for kind, data in messages(response):
                    event = json.loads(data)
                    if kind == "dropped":
                        dropped += int(event["dropped"])
                    if arguments.json:
                        kept += [event] if kind == "" else []
                        size += len(data)
                        if size > LARGEST:
                            raise ValueError(f"more than {LARGEST} bytes")
                    elif arguments.json_lines:
                        put_text(f"{json.dumps(event)}\n")
                    else:
                        put_text(f"{line(kind, event, paints=paints)}\n")
        if arguments.json:
            put_text(f"{json.dumps({'events': kept, 'dropped': dropped})}\n")
        if arguments.follow:
            raise Unanswered(f"{address.label}: the daemon has ended the stream")
    except (Unanswered, RequestRefused) as error:
        fail(escaped(str(error)))
        return 1
    except (OSError, HTTPException) as error:
        fail(f"lost the connection to the daemon ({escaped(str(error) or type(error).__name__)})")
        return 1
    return 0


def query(arguments: argparse.Namespace) -> str:
    """The query of the request."""
    wanted = [("name", name) for name in arguments.name or ()]
    wanted += [("service", arguments.service)] if arguments.service is not None else []
    wanted += [("severity", arguments.severity)]
    wanted += [("since", f"{arguments.since:.6f}")] if arguments.since is not None else []
    return urlencode([*wanted, ("follow", "yes" if arguments.follow else "no")])


def messages(response: HTTPResponse) -> Iterator[tuple[str, str]]:
    """Each message of a stream: its type, "" for an event, and its data. Raises ValueError and OSError."""
    kind, data = "", ""
    while received := response.readline(LARGEST + 1):
        if len(received) > LARGEST:
            raise ValueError(f"a line of more than {LARGEST} bytes")
        name, _, value = received.decode().rstrip("\r\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            data = value
        elif not name:
            if data:
                yield kind, data
            kind, data = "", ""


def line(kind: str, event: Mapping[str, Any], *, paints: bool) -> str:
    """An event as one line, escaped. Raises LookupError if it is not one."""
    if kind == "dropped":
        return f"-- {counted(int(event['dropped']), 'event was', 'events were')} dropped: this client read too slowly"
    level = str(event["level"])
    text = escaped(f"{event['time']} {level:5} {event['message']}")
    if suppressed := event.get("suppressed"):
        text += f" ({counted(int(suppressed), 'similar one', 'similar ones')} before it suppressed)"
    return f"{COLORS[level]}{text}{NO_COLOR}" if paints and level in COLORS else text
