"""The recorded messages of the clients of a service, as a resource of the admin interface."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

from echod.http.messages import Answer, Handler, Request, Respond, error_answer, object_of_json, of_json
from echod.services.recording import Recorded, Recorder

RECEIVED: Final = "/api/received/"  #: followed by the name of the service


def received_handlers(recorder: Recorder | None) -> Mapping[str, Handler] | None:
    """The handlers of a recording, or None without one."""
    if recorder is None:
        return None

    def read(request: Request, respond: Respond) -> None:
        if not request.peer.is_unix:  # messages of clients are private
            respond(error_answer(403, "recorded messages are available only over the Unix socket"))
            return
        entries = tuple(recorder.entries)  # more may be added while the response is sent
        respond(Answer(200, object_of_json({"dropped": recorder.dropped, "received": map(_fields, entries)})))

    def clear(_request: Request, respond: Respond) -> None:
        entries = len(recorder.entries)
        recorder.clear()
        respond(of_json({"cleared": entries}))

    return {"GET": read, "DELETE": clear}


def _fields(entry: Recorded) -> dict[str, Any]:
    peer = entry.peer
    data = b64encode(entry.data).decode("ascii")
    return {"transport": peer.scheme, "peer": str(peer.remote), "time": entry.time, "text": entry.text, "data": data}
