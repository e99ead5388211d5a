# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of vvfs' admin socket (docs/admin-protocol.md): requests without the start of a process in the figures."""
import json, socket, time


class AdminError(Exception):
    """What the daemon refused; `code` is the word of the protocol."""

    def __init__(self, method, error):
        super().__init__(f"{method}: {error['message']}")
        self.code = (error.get("data") or {}).get("code")


class Admin:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(600)
        self.socket.connect(path)
        self.file = self.socket.makefile("r")
        self.greeting = json.loads(self.file.readline())["vvfs"]
        self.id = 0

    def call(self, method, **params):
        self.id += 1
        request = {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}
        self.socket.sendall((json.dumps(request) + "\n").encode())
        answer = json.loads(self.file.readline())
        if "error" in answer:
            raise AdminError(method, answer["error"])
        return answer["result"]

    def timed_ms(self, method, **params):
        start = time.monotonic()
        self.call(method, **params)
        return (time.monotonic() - start) * 1000

    def patiently(self, method, seconds=10, **params):
        """As call, until the object is no longer open: the kernel tells of the last close behind close(2)."""
        limit = time.monotonic() + seconds
        while True:
            try:
                return self.call(method, **params)
            except AdminError as error:
                if error.code != "busy" or time.monotonic() > limit:
                    raise
            time.sleep(0.02)

    def settle(self, seconds=120):
        """Wait until what was removed has come back and no job is left."""
        limit = time.monotonic() + seconds
        while self.call("pool.status")["space"]["freeing"] or self.call("job.list")["items"]:
            if time.monotonic() > limit:
                raise TimeoutError(f"space does not come back within {seconds} s")
            time.sleep(0.02)

    def close(self):
        self.file.close()
        self.socket.close()
