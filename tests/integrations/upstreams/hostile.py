"""A server of either era in plain Python that does what its caller tells it to.

Usage: hostile.py STARTS TOKEN [WORD...]. STARTS is a file with a line for each start. Words:
`modern` speaks the era of 2026, `mute` answers no subscription after the first start,
`strict` wants to know who its client is, `slow` answers subscriptions with an error, late.
"""

import json
import os
import sys
import threading
from pathlib import Path

STARTS = Path(sys.argv[1])
WORDS = sys.argv[3:]
with STARTS.open("a") as file:
    file.write("start\n")
IS_FIRST = len(STARTS.read_text().splitlines()) == 1
MODERN = "modern" in WORDS
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
tools = ["die", "emit", "flood", "late", "more", "questions"]
held = []


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": value}], "resultType": "complete"}


def ask(number):
    schema = {"type": "object", "properties": {}}
    params = {"message": "?", "requestedSchema": schema}
    send({"id": number, "method": "elicitation/create", "params": params})


def call(request, name, arguments):
    if name == "die":
        os._exit(3)
    for line in arguments.get("lines", ()):
        sys.stdout.write(line.replace("$ID", json.dumps(request)) + "\n")
    if name == "more":
        tools.append("new")
    if name == "flood":
        note = {"level": "error", "data": "x" * arguments["bytes"]}
        for _ in range(arguments["count"]):
            send({"method": "notifications/message", "params": note})
    if name == "late":
        held.append(request)
        return
    if name == "questions":
        for number in range(arguments["count"]):
            ask(f"[{number}]")
            # What is no id calls nothing off.
            send({"method": "notifications/cancelled", "params": {"requestId": [number]}})
    send({"id": request, "result": text(name)})


def answer(request, method, params):
    if method == "server/discover" and MODERN:
        result = {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": CAPABILITIES,
            "ttlMs": 0,
            "cacheScope": "private",
        }
    elif method == "initialize" and not MODERN:
        if "strict" in WORDS and not params["clientInfo"].get("name"):
            return send({"id": request, "error": {"code": -32602, "message": "who are you?"}})
        info = {"name": "hostile", "version": "1"}
        result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
    elif method == "tools/list":
        listed = [{"name": name, "inputSchema": {"type": "object"}} for name in tools]
        result = {"tools": listed, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    elif method == "tools/call":
        return call(request, params["name"], params.get("arguments", {}))
    elif method == "resources/read" and held:
        held.append(request)
        return ask("late")
    elif method == "resources/read":
        contents = [{"uri": params["uri"], "text": "mine"}]
        result = {"contents": contents, "resultType": "complete"}
        result.update({"ttlMs": 60_000, "cacheScope": "public"} if MODERN else {})
    elif method in {"resources/subscribe", "resources/unsubscribe", "logging/setLevel"}:
        if "mute" in WORDS and not IS_FIRST:
            return None
        if "slow" in WORDS and method == "resources/subscribe":
            threading.Event().wait(0.1)  # a server that is slow
            return send({"id": request, "error": {"code": -32000, "message": "no"}})
        result = {}
    elif method == "subscriptions/listen":
        meta = {"io.modelcontextprotocol/subscriptionId": request}
        said = {"notifications": params["notifications"], "_meta": meta}
        return send({"method": "notifications/subscriptions/acknowledged", "params": said})
    else:
        return send({"id": request, "error": {"code": -32601, "message": "Method not found"}})
    return send({"id": request, "result": result})


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer(message["id"], message["method"], message.get("params", {}))
    elif message.get("id") == "late":
        late, read = held
        how = message.get("result", {}).get("action", "refused")
        send({"id": late, "result": text(how)})
        send({"id": read, "result": {"contents": []}})
