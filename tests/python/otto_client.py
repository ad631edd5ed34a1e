"""A client of Otto's wire in plain Python: submits a run, follows it, and prints its logs.

    otto explain --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["hash"])' > hash
    otto explain --format msgpack > plan
    python3 otto_client.py ~/.local/state/otto/otto.sock shop plan "$(cat hash)"

It needs `msgpack` from PyPI and nothing else; `docs/src/wire.md` is all that it was written from.
"""

import os
import socket
import struct
import sys
import uuid

import msgpack

PROTOCOL = 1
MAX_ANSWER = 16 << 20
LONG_POLL_MS = 5000


class OttoError(Exception):
    """The node said no."""


class Client:
    """One connection to a control process."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self.calls = 0
        self._send(
            {
                "greeting": "otto",
                "protocol": PROTOCOL,
                "oldest": PROTOCOL,
                "build": {"version": "0.1.0", "made_ns": 0, "size": 0},
                "role": "client",
                "pid": os.getpid(),
            }
        )
        answer = self._receive()
        if "refused" in answer:
            raise OttoError(f"{answer['refused']['what']} ({answer['refused']['help']})")
        self.hello = answer["welcome"]

    def call(self, method, **arguments):
        """Calls a method and answers with what it returned."""
        self.calls += 1
        context = {"deadline": {"secs": 20, "nanos": 0}}
        request = {"context": context, "id": self.calls, "message": {method: arguments}}
        self._send({"Request": request})
        response = self._receive()
        assert response["request_id"] == self.calls, response
        message = response["message"]
        if "Err" in message:
            raise OttoError(message["Err"]["detail"])
        result = message["Ok"][method]
        if "Err" in result:
            raise OttoError(result["Err"])
        return result["Ok"]

    def _send(self, message):
        body = msgpack.packb(message, use_bin_type=True)
        self.socket.sendall(struct.pack(">I", len(body)) + body)

    def _receive(self):
        (length,) = struct.unpack(">I", self._exactly(4))
        if length > MAX_ANSWER:
            raise OttoError(f"a frame of {length} bytes")
        return msgpack.unpackb(self._exactly(length), raw=False, strict_map_key=False)

    def _exactly(self, length):
        parts = []
        while length:
            part = self.socket.recv(min(length, 1 << 16))
            if not part:
                raise OttoError("the node closed the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)


def submit(client, project, plan, plan_hash):
    """Submits a run; a repeat under the same key would get the same run."""
    wish = {
        "project": project,
        "key": str(uuid.uuid4()),
        "plan": plan_hash,
        "plan_bytes": plan,
        "snapshot": None,
    }
    return client.call("Submit", submit=wish)["run"]


def events(client, run):
    """All events of a run, as they happen, until it is retired."""
    after = 0
    while True:
        follow = {"run": run, "after": after, "wait_ms": LONG_POLL_MS}
        followed = client.call("Follow", follow=follow)
        for entry in followed["entries"]:
            after += 1
            yield from msgpack.unpackb(entry, raw=False, strict_map_key=False)["events"]
        if followed["retired"]:
            return


def log(client, run, stage, attempt):
    """The whole log of an attempt."""
    offset = 0
    while True:
        read = {
            "run": run,
            "stage": stage,
            "attempt": attempt,
            "offset": offset,
            "limit": 1 << 18,
            "wait_ms": LONG_POLL_MS,
        }
        part = client.call("Log", read=read)
        yield part["bytes"]
        offset += len(part["bytes"])
        if part["end"] is not None:
            return


def main():
    """Submits the plan of a file, and prints the log of each attempt as it ends."""
    path, project, plan_path, plan_hash = sys.argv[1:]
    client = Client(path)
    with open(plan_path, "rb") as file:
        plan = file.read()
    run = submit(client, project, plan, bytes.fromhex(plan_hash))
    print(f"run {run['number']}", file=sys.stderr)
    outcome = None
    for event in events(client, run):
        # An event is a map of one kind, or a bare kind, to its fields.
        (kind, fields), = event.items()
        if kind == "attempt-ended/1":
            for part in log(client, run, fields["stage"], fields["attempt"]):
                sys.stdout.buffer.write(part)
        elif kind == "run-settled/1":
            outcome = fields["outcome"]
    print(outcome, file=sys.stderr)
    return 0 if outcome in ("success", "unstable") else 1


if __name__ == "__main__":
    sys.exit(main())
