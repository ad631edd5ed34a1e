"""What a step written in Python uses: its arguments, and its agent's ear.

Copy this file into your step's folder. It needs nothing but Python 3.9.
"""

import http.client
import json
import socket
from urllib.parse import quote


class Refused(Exception):
    """The agent said no."""


class Step:
    """A step that is running: `Step(sys.argv[1])`."""

    def __init__(self, path):
        # An invocation file is YAML in its JSON form.
        with open(path, encoding="utf-8") as file:
            self.invocation = json.load(file)
        self.parameters = self.invocation["parameters"]
        self.configuration = self.invocation["configuration"]
        self.identity = self.invocation["identity"]
        self.cache = self.invocation["cache"]

    def status(self, status, message=""):
        """Says how the step goes: success, unstable or failed."""
        self._ask("POST", "/v1/status", {"status": status, "message": message})

    def end(self, status, message=""):
        """Ends the run after this step."""
        self._ask("POST", "/v1/end", {"status": status, "message": message})

    def capture(self, name, value):
        """Captures a variable for later steps and stages."""
        self._ask("POST", "/v1/variables", {"name": name, "value": value})

    def drop(self, name):
        """Forgets a captured variable."""
        self._ask("DELETE", f"/v1/variables/{quote(name, safe='')}")

    def credential(self, name):
        """Retrieves a credential that was granted to this library."""
        return json.loads(self._ask("GET", f"/v1/credentials/{quote(name, safe='')}"))["value"]

    def callback(self, name):
        """The address and token of a callback that a gate of this stage waits for."""
        return json.loads(self._ask("POST", f"/v1/callbacks/{quote(name, safe='')}"))

    def keep_artifact(self, name, content):
        """Keeps bytes or an open binary file as an artifact; answers its digest."""
        answer = self._ask("PUT", f"/v1/artifacts/{quote(name, safe='')}", raw=content)
        return json.loads(answer)["digest"]

    def fetch_artifact(self, name):
        """The bytes of an artifact of this run."""
        return self._ask("GET", f"/v1/artifacts/{quote(name, safe='')}")

    def _ask(self, method, path, value=None, raw=None):
        control = self.invocation["control"]
        connection = http.client.HTTPConnection("otto")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(control["socket"])
        body = raw if value is None else json.dumps(value)
        headers = {"Authorization": f"Bearer {control['secret']}"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 400:
            raise Refused(json.loads(content)["error"])
        return content
