"""A server of 2025 in plain Python that is another after every start, and notes what it hears.

Usage: changing.py FILE TOKEN. What it is sent goes to FILE, a line of JSON each.
"""

import json
import os
import sys
from pathlib import Path

FILE = Path(sys.argv[1])


def lines():
    return FILE.read_text().splitlines() if FILE.exists() else []


STARTS = sum(1 for line in lines() if '"start"' in line) + 1
CAPABILITIES = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True},
    "logging": {},
    **({"prompts": {}} if STARTS == 1 else {}),
}
calls = {}


def note(value):
    with FILE.open("a") as file:
        file.write(json.dumps(value) + "\n")


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method, **params):
    send({"method": f"notifications/{method}", "params": params})


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def call(request, name, arguments, params):
    token = params.get("_meta", {}).get("progressToken")
    calls[name] = calls.get(name, 0) + 1
    if name == "die":
        os._exit(3)
    if name == "wait":
        return
    if name == "flaky":
        # The second attempt begins anew, and the first has not fallen silent.
        calls.setdefault("token", token)
        for number in range(1, 6):
            notify("progress", progressToken=token, progress=number)
        if calls[name] == 1:
            send({"id": request, "error": {"code": -32000, "message": "once more"}})
            return
        notify("progress", progressToken=calls["token"], progress=77)
        notify("progress", progressToken=token, progress=6)
    if name == "strays":
        for stray in ("nobody", 5, None, True, {"a": 1}):
            notify("progress", progressToken=stray, progress=1)
        notify("progress", progressToken=token, progress="much")
        notify("cancelled", requestId="nobody")
        notify("message", level="loud", data=1)
        notify("resources/updated", uri=5)
        notify("subscriptions/acknowledged")
        send({"id": "nobody", "result": {}})
        send({"id": request, "result": text("first")})
    if name == "flood":
        for number in range(arguments["count"]):
            notify("progress", progressToken=token, progress=number + 1)
            notify("message", level="error", data=number)
            notify("tools/list_changed")
            notify("resources/updated", uri="test://one")
            notify("resources/updated", uri=f"test://{number}")
    send({"id": request, "result": text(name)})


def answer(request, method, params):
    names = ["die", "flaky", "flood", "strays", "wait"] + (["new"] if STARTS > 1 else [])
    if method == "initialize":
        note({"start": STARTS})
        info = {"name": "changing", "version": str(STARTS)}
        result = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
    elif method == "tools/list":
        schema = {"type": "object"}
        hints = {"readOnlyHint": True}
        tools = [{"name": name, "inputSchema": schema, "annotations": hints} for name in names]
        result = {"tools": tools}
    elif method == "tools/call":
        return call(request, params["name"], params.get("arguments", {}), params)
    elif method == "prompts/list":
        result = {"prompts": []}
    elif method in {"resources/subscribe", "resources/unsubscribe", "logging/setLevel"}:
        result = {}
    else:
        return send({"id": request, "error": {"code": -32601, "message": "Method not found"}})
    return send({"id": request, "result": result})


for line in sys.stdin:
    message = json.loads(line)
    note(message)
    if "id" in message and "method" in message:
        answer(message["id"], message["method"], message.get("params", {}))
