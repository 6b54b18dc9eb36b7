"""How each real server is started, and what it finds: folders, a repository, a web site."""

import importlib.util
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localmcp_harden.integrations.proxy import UpstreamConfig

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WHO = {"NAME": "T", "EMAIL": "t@example.org", "DATE": "1767323045 +0000"}
# The same for every commit, so that its hash is the same, too.
GIT = {f"GIT_{who}_{key}": WHO[key] for who in ("AUTHOR", "COMMITTER") for key in WHO}
PAGE = b"<html><head><title>T</title></head><body><h1>Hello</h1><p>A page.</p></body></html>"


def _load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node_server():
    """Return a function: name of a server of package.json -> the command that starts it."""
    tool = _load_tool("node_packages")

    def command(name):
        try:
            modules = tool.install(HERE)
        except tool.NodePackagesError as error:
            required = os.environ.get("LOCALMCP_REQUIRE", "").replace(",", " ").split()
            if {name, "all"} & {*required}:
                pytest.fail(f"{name} is required and can not be installed: {error}", pytrace=False)
            pytest.skip(f"{name} can not be installed: {error}")
        script = modules / "@modelcontextprotocol" / name / "dist" / "index.js"
        return tool.find_node(), str(script)

    return command


class _Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def site():
    """Serve one page on loopback, and return its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/page"
        server.shutdown()
        thread.join()


def _make_repository(folder):
    def git(*arguments):
        subprocess.run(
            ["git", *arguments],
            cwd=folder,
            check=True,
            capture_output=True,
            env={**os.environ, **GIT},
        )

    git("init", "-b", "main")
    for number in range(2):
        (folder / "notes.txt").write_text(f"note {number}\n" * 3)
        git("add", "notes.txt")
        git("commit", "-m", f"note {number}")
    git("branch", "other")
    (folder / "notes.txt").write_text("changed\n")


def _make_files(folder):
    (folder / "deep").mkdir()
    (folder / "notes.txt").write_text("one\ntwo\nthree\n")
    (folder / "deep" / "more.md").write_text("# More\n")
    (folder / "deep" / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")


_PREPARE = {"git": _make_repository, "filesystem": _make_files}


@pytest.fixture
def launch(node_server):
    """Return a function: name of a server, its empty folder -> how it is started, folder filled."""

    def prepare(name, folder):
        _PREPARE.get(name, lambda _: None)(folder)
        command, *args = {
            "git": lambda: ("mcp-server-git", "--repository", str(folder)),
            "time": lambda: ("mcp-server-time", "--local-timezone", "UTC"),
            "fetch": lambda: ("mcp-server-fetch", "--ignore-robots-txt", "--allow-private-ips"),
            "everything": lambda: node_server("server-everything"),
            "filesystem": lambda: (*node_server("server-filesystem"), str(folder)),
            "memory": lambda: node_server("server-memory"),
        }[name]()
        here = Path(sys.executable).parent / Path(command).name
        return UpstreamConfig(
            command=str(here) if here.is_file() else command,
            args=args,
            env={
                "git": GIT,
                # Where it finds npm, it installs packages in the middle of the first call.
                "fetch": {"PATH": str(folder)},
                "memory": {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")},
            }.get(name, {}),
            start_timeout_s=60,
            stop_grace_s=5,
        )

    return prepare
