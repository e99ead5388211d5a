#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon that says what a script tells it to, for tests of vvfs-admin.

fake_daemon.py SOCKET SCRIPT LOG

SCRIPT is JSON: {METHOD: STEP or [STEP, ...]}; of a list each call takes the next, the last stays. A STEP has one of
  result: VALUE         the answer
  error: [CODE, MESSAGE, OBJECT, HINT]
  hang: true            no answer
  close: true           the connection ends
and may have `before` and `after`: [[METHOD, PARAMS], ...], notifications around the answer. "greeting" in the script
replaces the greeting. Every request is written to LOG, one a line."""
import json
import os
import socket
import sys
import threading


def note(send, pairs):
    for method, params in pairs:
        send({"jsonrpc": "2.0", "method": method, "params": params})


def serve(connection, script, counts, log):
    def send(document):
        connection.sendall((json.dumps(document) + "\n").encode())

    send(script.get("greeting", {"vvfs": {"version": "9.9", "pool": "tank", "uuid": "u", "protocol": 1, "capabilities": []}}))
    for line in connection.makefile():
        request = json.loads(line)
        method = request["method"]
        log.write(json.dumps([method, request["params"]]) + "\n")
        log.flush()
        steps = script.get(method, {"error": ["internal", "the script has no " + method, None, None]})
        if isinstance(steps, list):
            at = counts.get(method, 0)
            counts[method] = at + 1
            steps = steps[min(at, len(steps) - 1)]
        note(send, steps.get("before", []))
        if "close" in steps:
            connection.close()
            return
        if "result" in steps:
            send({"jsonrpc": "2.0", "id": request["id"], "result": steps["result"]})
        elif "error" in steps:
            code, message, about, hint = steps["error"]
            data = {"code": code, "object": about, "hint": hint}
            send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32000, "message": message, "data": data}})
        note(send, steps.get("after", []))


def main():
    path, script_path, log_path = sys.argv[1:]
    with open(script_path) as file:
        script = json.load(file)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    counts = {}
    with open(log_path, "a") as log:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, script, counts, log), daemon=True).start()


main()
