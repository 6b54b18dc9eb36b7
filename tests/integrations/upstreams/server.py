"""A small server in plain Python whose tools do what servers should not do.

Usage: server.py ERA TOKEN, where ERA is modern, legacy or both. TOKEN only marks the process.
"""

import json
import os
import signal
import sys
from pathlib import Path

ERA = sys.argv[1]
MODERN = "2026-07-28"
CAPABILITIES = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
TOOLS = (
    "ask ask_often close_stdin deep die echo environment exit fail flood_line flood_notifications "
    "garbage huge input malformed never nonsense stop_reading stubborn twice"
)


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def raw(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def text(value, **more):
    return {"content": [{"type": "text", "text": value}], **more}


def call(request, name, arguments, params):
    answer = {"id": request}
    try:
        act(answer, name, arguments, params)
    finally:
        result = answer.get("result")
        if isinstance(result, dict) and is_modern(params):
            result.setdefault("resultType", "complete")
        if len(answer) > 1:
            send(answer)


def act(answer, name, arguments, params):  # noqa: PLR0912 - a list of misdeeds
    request = answer["id"]
    if name == "echo":
        shown = {key: value for key, value in params.get("_meta", {}).items() if "/" not in key}
        answer["result"] = {
            **text("echo"),
            "structuredContent": {"arguments": arguments, "meta": shown},
            "_meta": {"example.org/mark": 1},
        }
    elif name == "environment":
        answer["result"] = {**text("environment"), "structuredContent": dict(os.environ)}
    elif name == "fail":
        answer["error"] = {"code": -32123, "message": "as it is", "data": {"why": ["so"]}}
    elif name == "input":
        meta = params["_meta"]
        if "inputResponses" in params:
            answer["result"] = text(json.dumps([params["inputResponses"], params["requestState"]]))
        else:
            can = meta["io.modelcontextprotocol/clientCapabilities"]
            answer["result"] = {
                "resultType": "input_required",
                "inputRequests": {
                    "name": {
                        "method": "elicitation/create",
                        "params": {
                            "mode": "form",
                            "message": f"form: {'elicitation' in can}",
                            "requestedSchema": {"type": "object", "properties": {}},
                        },
                    }
                },
                "requestState": "sealed",
            }
    elif name == "exit":
        sys.stderr.write("password=hunter2hunter2\n")
        sys.stderr.flush()
        os._exit(7)
    elif name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif name == "garbage":
        raw("not a message\n" * arguments.get("lines", 200))
        answer["result"] = text("after the garbage")
    elif name == "flood_line":
        while True:
            raw("x" * 100_000)
    elif name == "flood_notifications":
        for number in range(arguments["count"]):
            send({"method": "notifications/message", "params": {"level": "info", "data": number}})
        answer["result"] = text("after the flood")
    elif name == "twice":
        send({**answer, "result": text("first", resultType="complete")})
        answer["result"] = text("second")
    elif name == "never":
        if arguments.get("cancel_file"):
            Path(arguments["cancel_file"]).touch()
        return
    elif name == "huge":
        answer["result"] = text("x" * arguments["size"])
    elif name == "deep":
        depth = arguments.get("depth", 10_000)
        result = json.dumps({**text("deep"), "resultType": "complete", "isError": True})
        nested = "[" * depth + "]" * depth
        raw(f'{{"jsonrpc":"2.0","id":{request},"result":{result[:-1]},"x":{nested}}}}}\n')
        return
    elif name == "malformed":
        answer["result"] = 5
    elif name == "nonsense":
        answer["result"] = {"content": "no list"}
    elif name == "ask":
        send({"id": "q1", "method": "roots/list"})
        line = json.loads(sys.stdin.readline())
        answer["result"] = text(json.dumps([line.get("id"), line["error"]["code"]]))
    elif name == "ask_often":
        for number in range(5_000):
            send({"id": f"q{number}", "method": "ping"})
        signal.pause()
    elif name == "stop_reading":
        signal.pause()
    elif name == "close_stdin":
        os.close(0)
        signal.pause()
    elif name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # An error, since a client checks other results against a list it asks for.
        send({**answer, "result": text("no", resultType="complete", isError=True)})
        while True:
            signal.pause()


def is_modern(params):
    return "io.modelcontextprotocol/protocolVersion" in params.get("_meta", {})


def listing(key, items, cursor=None):
    result = {key: items}
    if cursor:
        result["nextCursor"] = cursor
    return result


def answer(request, method, params):  # noqa: PLR0912 - one branch a method
    info = {"name": "hostile", "version": "1.2.3", "title": "Hostile server"}
    if method == "server/discover" and ERA != "legacy":
        result = {
            "supportedVersions": [MODERN],
            "capabilities": CAPABILITIES,
            "instructions": "be careful",
            "_meta": {"io.modelcontextprotocol/serverInfo": info},
        }
    elif method == "initialize" and ERA != "modern":
        result = {
            "protocolVersion": "2025-11-25",
            "capabilities": CAPABILITIES,
            "serverInfo": info,
            "instructions": "be careful",
        }
    elif method == "tools/list":
        schema = {"type": "object"}
        half = TOOLS.split()
        if params.get("cursor") == "two":
            half, cursor = half[10:], None
        else:
            half, cursor = half[:10], "two"
        tools = [
            {"name": name, "inputSchema": schema, "annotations": {"readOnlyHint": True}}
            for name in half
        ]
        result = listing("tools", tools, cursor)
    elif method == "tools/call":
        return call(request, params["name"], params.get("arguments", {}), params)
    elif method == "resources/list":
        result = listing("resources", [{"uri": "test://one", "name": "one"}])
    elif method == "resources/templates/list":
        template = {"uriTemplate": "test://{name}", "name": "any"}
        result = listing("resourceTemplates", [template])
    elif method == "resources/read":
        result = {"contents": [{"uri": params["uri"], "text": "content"}]}
    elif method == "prompts/list":
        result = listing("prompts", [{"name": "greet"}])
    elif method == "prompts/get":
        message = {"role": "user", "content": {"type": "text", "text": params["name"]}}
        result = {"messages": [message]}
    elif method == "completion/complete":
        result = {"completion": {"values": [params["argument"]["value"] + "!"]}}
    else:
        return send({"id": request, "error": {"code": -32601, "message": "Method not found"}})
    if is_modern(params):
        result = {"resultType": "complete", **result}
        if "list" in method or method in {"server/discover", "resources/read"}:
            result = {"ttlMs": 0, "cacheScope": "private", **result}
    return send({"id": request, "result": result})


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer(message["id"], message["method"], message.get("params", {}))
    elif message.get("method") == "notifications/cancelled":
        sys.stderr.write(f"cancelled {message['params']['requestId']}\n")
        sys.stderr.flush()
